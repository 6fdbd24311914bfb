"""Purchases from a day on affect nothing that is computed as of that day.

Shuffling the future changes nothing, bit for bit. Moving one purchase from the future into the past changes only its
own customer, article and totals.
"""

from dataclasses import fields
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from hm_utils.data.features import ARTICLE_COLUMNS, CUSTOMER_COLUMNS, STATE_COLUMNS, CatalogueState, mean_prices
from hm_utils.data.histories import Histories, histories_as_of
from hm_utils.data.popularity import RECENT_DAYS, log_popularity, recent_sales
from hm_utils.data.preprocessing import TrainingData, make_training_data
from hm_utils.data.purchases import PurchaseLog
from hm_utils.model.scoring import Repurchase, Scoring
from hm_utils.training.batches import Batch
from hm_utils.training.fit import training_inputs
from hm_utils.training.loop import PRICE_COLUMN, TrainingInputs, TrainingSettings, batch_loss
from hm_utils.training.negatives import InBatchNegatives
from tests.helpers.data import ARTICLES, CUSTOMERS, DAYS, article_table, customer_table, random_transactions, vocabulary
from tests.helpers.snapshots import HISTORY_LENGTH, random_snapshot, random_towers

CUT = 36  # inside a week-long block, so that the last block is cut too
MOVED_TO = 31
EVERYBODY = np.arange(CUSTOMERS, dtype=np.int32)


def log_of(frame: pd.DataFrame) -> PurchaseLog:
    return PurchaseLog.from_transactions(frame, CUSTOMERS, ARTICLES)


def day_of(frame: pd.DataFrame) -> pd.Series:
    return (frame["t_dat"] - frame["t_dat"].min()).dt.days


def shuffled_from(frame: pd.DataFrame, day: int) -> pd.DataFrame:
    """The frame with each column shuffled, on its own, among the purchases from ``day`` on."""
    rng = np.random.default_rng(9)
    late = (day_of(frame) >= day).to_numpy()
    frame = frame.copy()
    for name in frame.columns:
        frame.loc[late, name] = rng.permutation(frame.loc[late, name].to_numpy())
    # Some go to a cold-start customer, and some to an article never sold before.
    frame.loc[np.flatnonzero(late)[:4], "customer"] = CUSTOMERS - 1
    frame.loc[np.flatnonzero(late)[2:6], "article"] = ARTICLES - 1
    return frame


def customers() -> pd.DataFrame:
    """The last customer, who buys nothing before CUT, is the only one with the status "LEFT CLUB"."""
    table = customer_table()
    table.loc[CUSTOMERS - 1, "club_member_status"] = "LEFT CLUB"
    return table


def training_of(log: PurchaseLog) -> TrainingData:
    return make_training_data(article_table(), customers(), log, CUT, 3, negatives_per_positive=2)


def inputs_of(log: PurchaseLog, training: TrainingData, use_in_batch_negatives: bool = True) -> TrainingInputs:
    settings = TrainingSettings(64, history_length=HISTORY_LENGTH, use_in_batch_negatives=use_in_batch_negatives)
    return training_inputs(log, training, settings)


def assert_same(first: Any, second: Any) -> None:
    """Assert equality bit for bit, of dataclasses field by field."""
    if hasattr(first, "__dataclass_fields__"):
        for field in fields(first):
            assert_same(getattr(first, field.name), getattr(second, field.name))
    elif isinstance(first, np.ndarray):
        assert first.dtype == second.dtype
        np.testing.assert_array_equal(first, second)
    else:
        assert first == second


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return random_transactions()


@pytest.fixture(scope="module")
def logs(frame) -> tuple[PurchaseLog, PurchaseLog]:
    """The log, and the log with everything from CUT on shuffled."""
    return log_of(frame), log_of(shuffled_from(frame, CUT))


def test_the_shuffle_changes_the_future_alone(logs):
    first, second = logs
    assert_same(first.before(CUT), second.before(CUT))
    after = [np.column_stack([log.customer, log.article, log.day])[log.day >= CUT] for log in logs]
    assert len(after[0]) == len(after[1]) > 300
    assert len({*map(tuple, after[0].tolist())} & {*map(tuple, after[1].tolist())}) < 0.1 * len(after[0])


def test_shuffling_the_future_changes_no_training_data(logs):
    first, second = (training_of(log) for log in logs)
    assert first.examples.negatives is not None
    assert_same(first, second)


@pytest.mark.parametrize("use_in_batch_negatives", [True, False], ids=["softmax", "pairs"])
def test_shuffling_the_future_changes_no_batch_and_no_step(logs, use_in_batch_negatives):
    losses, gradients, epochs = [], [], []
    for log in logs:
        training = training_of(log)
        inputs = inputs_of(log, training, use_in_batch_negatives)
        epochs.append(list(inputs.batches.epoch(np.random.default_rng(3))))
        model = random_towers(training)
        losses.append([batch_loss(model, batch, inputs, "cpu") for batch in epochs[-1]])
        losses[-1][0].backward()
        gradients.append([parameter.grad for parameter in model.parameters() if parameter.grad is not None])
    assert len(epochs[0]) == len(epochs[1]) > 5
    for one, other in zip(*epochs, strict=True):
        assert_same(one, other)
    assert [loss.item() for loss in losses[0]] == [loss.item() for loss in losses[1]]
    for one, other in zip(*gradients, strict=True):
        assert torch.equal(one.to_dense(), other.to_dense())


def test_shuffling_the_future_changes_nothing_of_a_snapshot(frame):
    as_of = 43  # later than CUT: the vocabularies of the towers are older than the catalogue
    first, second, other = (
        random_snapshot(log_of(purchases), as_of, train_end=CUT)
        for purchases in (frame, shuffled_from(frame, as_of), shuffled_from(frame, as_of - 1))
    )
    np.testing.assert_array_equal(first.article_vectors, second.article_vectors)
    np.testing.assert_array_equal(first.popularity, second.popularity)
    np.testing.assert_array_equal(first.customers(EVERYBODY), second.customers(EVERYBODY))
    scoring = Scoring(repurchase=Repurchase(bought=2.0, recent=0.5, times=1.0, again=1.0, due=-1.0))
    assert_same(first.score(EVERYBODY, 12, scoring)[0], second.score(EVERYBODY, 12, scoring)[0])
    # The day before its own does change it.
    assert (other.article_vectors != first.article_vectors).any()
    assert (other.popularity != first.popularity).any()
    assert (other.customers(EVERYBODY) != first.customers(EVERYBODY)).any()


class Moved:
    """Two logs with one more purchase: after the cut in the first, on day MOVED_TO in the second."""

    def __init__(self, customer: int, article: int) -> None:
        base = random_transactions()
        one = base.head(1).assign(customer=np.int32(customer), article=np.int32(article), price=np.float32(0.5))
        start = base["t_dat"].min()
        self.customer, self.article = customer, article
        self.logs = [
            log_of(pd.concat([base, one.assign(t_dat=start + pd.Timedelta(days=day))], ignore_index=True))
            for day in (DAYS - 2, MOVED_TO)
        ]
        self.trainings = [training_of(log) for log in self.logs]
        self.others = np.setdiff1d(np.arange(ARTICLES), [article])
        self.other_customers = np.setdiff1d(EVERYBODY, [customer])


@pytest.fixture(scope="module", params=["known", "new"])
def moved(request) -> Moved:
    """A purchase whose customer and article are either both known before the cut or both new."""
    return Moved(29, 2) if request.param == "known" else Moved(CUSTOMERS - 1, ARTICLES - 1)


def is_new(moved: Moved) -> bool:
    return moved.article == ARTICLES - 1


def test_a_moved_purchase_is_one_more_example(moved):
    before, after = (
        set(zip(t.examples.customer.tolist(), t.examples.article.tolist(), t.examples.day.tolist(), strict=True))
        for t in moved.trainings
    )
    assert after - before == {(moved.customer, moved.article, MOVED_TO)}
    assert before <= after
    assert len(moved.trainings[1].examples) == len(moved.trainings[0].examples) + 1


def test_a_moved_purchase_adds_only_its_article_and_customer_to_the_vocabularies(moved):
    before, after = (training.encoders for training in moved.trainings)
    article, customer = article_table().iloc[moved.article], customers().iloc[moved.customer]
    for names, row, kind in ((ARTICLE_COLUMNS, article, "article"), (CUSTOMER_COLUMNS[1:], customer, "customer")):
        for name in names:
            old, new = (set(getattr(encoders, kind)[name].values) for encoders in (before, after))
            assert old <= new <= old | {str(row[name])}
    assert (len(after.article["article_id"].values) > len(before.article["article_id"].values)) == is_new(moved)
    assert ("LEFT CLUB" in after.customer["club_member_status"].values) == is_new(moved)  # noqa: PD011
    assert "LEFT CLUB" not in before.customer["club_member_status"].values  # noqa: PD011
    if not is_new(moved):
        assert before.article == after.article
        assert before.customer == after.customer


def decoded(training: TrainingData, column: int) -> np.ndarray:
    """``[n_articles]`` the values of a column's codes: "" is missing, "?" is unknown."""
    name = ARTICLE_COLUMNS[column]
    values = np.array(["", "?", *vocabulary(training.encoders.article[name])])
    return values[training.categories[:, column]]


def test_a_moved_purchase_changes_only_the_features_of_its_article(moved):
    """And the edges of the price buckets, which are quantiles of all purchases."""
    before, after = moved.trainings
    shares_a_value = False
    for column, name in enumerate(ARTICLE_COLUMNS):
        old, new = decoded(before, column), decoded(after, column)
        changed = np.flatnonzero(old != new)
        # An unknown value is known now, for every article that has it.
        own = article_table()[name].astype("str")
        assert (own[changed] == own[moved.article]).all()
        assert (old[changed] == "?").all()
        shares_a_value |= len(changed) > 0
    assert shares_a_value == is_new(moved)
    prices = [mean_prices(log, CUT) for log in moved.logs]
    np.testing.assert_array_equal(prices[0][moved.others], prices[1][moved.others])
    assert prices[0][moved.article] != prices[1][moved.article]
    bucket = [training.categories[moved.article, PRICE_COLUMN] for training in moved.trainings]
    assert bucket[0] < bucket[1]  # it cost more than any other
    if not is_new(moved):
        np.testing.assert_array_equal(before.attributes, after.attributes)


def test_a_moved_purchase_changes_only_the_state_of_its_article(moved):
    """And ``log_share_*`` of all articles while the day is in the window: the total has one more sale."""
    states = [CatalogueState(log) for log in moved.logs]
    first_sale = [log.day[log.article == moved.article].min() for log in moved.logs]
    for day in range(CUT + 1):
        before, after = (pd.DataFrame(state.as_of(day), columns=list(STATE_COLUMNS)) for state in states)
        for name, window in (("log_share_1d", 1), ("log_share_7d", 7), ("log_share_28d", 28)):
            if not MOVED_TO < day <= MOVED_TO + window:
                np.testing.assert_array_equal(before[name], after[name])
                continue
            # One more sale in the total, and one more of the article itself.
            total = moved.logs[0].sales_between(day - window, day).sum() + ARTICLES
            ratio = np.exp(after[name] - before[name]) * (total + 1) / total
            np.testing.assert_allclose(ratio[moved.others], 1, rtol=1e-5)
            sales = np.exp(before.loc[moved.article, name]) * total / ARTICLES
            assert ratio[moved.article] == pytest.approx((sales + 1) / sales, rel=1e-5)
        for name in ("log_age", "never_sold"):
            np.testing.assert_array_equal(before.loc[moved.others, name], after.loc[moved.others, name])
            changes = day > first_sale[1] and first_sale[1] != first_sale[0]
            assert (before.loc[moved.article, name] != after.loc[moved.article, name]) == changes
    assert (first_sale[0] != first_sale[1]) == is_new(moved)


def test_a_moved_purchase_changes_only_the_popularity_of_its_article(moved):
    """``recent_sales`` of its article only; ``log_popularity``, a share of a total, of all articles."""
    for day in range(CUT + 1):
        before, after = (recent_sales(log, day) for log in moved.logs)
        np.testing.assert_array_equal(before[moved.others], after[moved.others])
        in_window = MOVED_TO < day <= MOVED_TO + RECENT_DAYS
        assert (after[moved.article] > before[moved.article]) == in_window
        shares = [np.expm1(log_popularity(sales).astype(np.float64)) * sales.sum() for sales in (before, after)]
        np.testing.assert_allclose(shares[0][moved.others], shares[1][moved.others], rtol=1e-4)


def test_a_moved_purchase_changes_only_the_history_of_its_customer(moved):
    for day in range(CUT + 1):
        before, after = (histories_as_of(log, EVERYBODY, day, HISTORY_LENGTH) for log in moved.logs)
        for name in ("articles", "days_since", "mask"):
            old, new = getattr(before, name), getattr(after, name)
            np.testing.assert_array_equal(old[moved.other_customers], new[moved.other_customers])
            if day <= MOVED_TO:
                np.testing.assert_array_equal(old, new)
        if day > MOVED_TO:
            assert added(before, after, moved.customer) == [(moved.article, day - MOVED_TO)]


def added(before: Histories, after: Histories, customer: int) -> list[tuple[int, int]]:
    """The (article, days since) that a customer's history gained; it may have lost its oldest."""
    old, new = (
        list(zip(h.articles[customer].tolist(), h.days_since[customer].tolist(), strict=True)) for h in (before, after)
    )
    return [pair for pair in new if new.count(pair) > old.count(pair) and pair != (0, 0)]


def test_a_moved_purchase_changes_only_its_own_history_and_the_shares_of_its_week_in_batches(moved):
    """Batches of the examples that both logs have."""
    makers = [inputs_of(log, training).batches for log, training in zip(moved.logs, moved.trainings, strict=True)]
    examples = makers[1].examples
    moved_one = (examples.customer == moved.customer) & (examples.article == moved.article) & (examples.day == MOVED_TO)
    common = [np.arange(len(makers[0].examples)), np.flatnonzero(~moved_one)]
    changed_histories = changed_shares = 0
    for start in range(0, len(common[0]), 64):
        before, after = (
            maker.make(rows[start : start + 64], np.random.default_rng(start))
            for maker, rows in zip(makers, common, strict=True)
        )
        days = makers[0].examples.day[common[0][start : start + 64]]
        assert before.day == after.day
        np.testing.assert_array_equal(before.customers, after.customers)
        assert isinstance(before.negatives, InBatchNegatives)
        assert isinstance(after.negatives, InBatchNegatives)
        np.testing.assert_array_equal(before.negatives.collisions, after.negatives.collisions)
        np.testing.assert_array_equal(before.items[before.positives], after.items[after.positives])
        np.testing.assert_array_equal(before.items[before.negatives.places], after.items[after.negatives.places])
        own = (before.customers == moved.customer) & (days >= MOVED_TO)
        for name in ("days_since", "mask"):
            old, new = (getattr(batch.histories, name)[~own] for batch in (before, after))
            np.testing.assert_array_equal(old, new)
        seen = [b.items[b.histories.articles] * b.histories.mask for b in (before, after)]
        np.testing.assert_array_equal(seen[0][~own], seen[1][~own])
        changed_histories += (seen[0] != seen[1]).any(axis=1).sum()
        weeks_ago = (makers[0].examples.day[-1] - np.append(days, MOVED_TO)) // 7
        shares_its_week = (weeks_ago[:-1] == weeks_ago[-1]).any()
        assert same_shares(before, after) != shares_its_week
        changed_shares += shares_its_week
    assert (changed_histories > 0) != is_new(moved)  # a cold-start customer has no other example
    assert 0 < changed_shares < len(common[0]) // 64


def same_shares(before: Batch, after: Batch) -> bool:
    shared, mine, theirs = np.intersect1d(before.items, after.items, return_indices=True)
    assert len(shared) > ARTICLES // 2
    old, new = (batch.negatives.log_expected_count for batch in (before, after))  # type: ignore[union-attr]
    return np.array_equal(before.popularity[mine], after.popularity[theirs]) and np.array_equal(old, new)
