"""Examples, histories, negatives and batches."""

from collections import Counter
from itertools import groupby
from unittest import mock

import numpy as np
import pandas as pd
import pytest

from hm_utils.data.examples import Examples, make_examples, on_sale_by_week, sample_negatives
from hm_utils.data.histories import histories_as_of
from hm_utils.data.purchases import PurchaseLog
from hm_utils.training.batches import BatchMaker
from tests.helpers.data import ARTICLES, random_log, random_transactions

START, END, LENGTH = 10, 40, 6


@pytest.fixture(scope="module")
def log():
    return random_log()


@pytest.fixture(scope="module")
def examples(log):
    return make_examples(log, START, END)


def batches(log, examples, **options):
    return BatchMaker(log, examples, **{"batch_size": 64, "history_length": LENGTH, **options})


def test_examples_are_the_distinct_purchases_of_the_days(examples):
    frame = random_transactions()
    frame["day"] = (frame["t_dat"] - frame["t_dat"].min()).dt.days
    expected = frame[(frame["day"] >= START) & (frame["day"] < END)][["customer", "article", "day"]].drop_duplicates()
    found = list(zip(examples.customer.tolist(), examples.article.tolist(), examples.day.tolist(), strict=True))
    assert sorted(found) == sorted(expected.itertuples(index=False, name=None))
    assert (np.diff(examples.day) >= 0).all()


@pytest.mark.parametrize("as_of", [0, 1, 25, 50, 80])
def test_histories_are_the_latest_purchases_before_the_day(log, as_of):
    frame = random_transactions()
    frame["day"] = (frame["t_dat"] - frame["t_dat"].min()).dt.days
    customers = np.arange(log.n_customers, dtype=np.int32)
    found = histories_as_of(log, customers, as_of, LENGTH)
    for customer in customers:
        past = frame[(frame["customer"] == customer) & (frame["day"] < as_of)].sort_values("day", kind="stable")
        past = past.iloc[::-1].head(LENGTH)
        known = found.mask[customer]
        assert found.articles[customer][known].tolist() == past["article"].tolist()
        assert found.days_since[customer][known].tolist() == (as_of - past["day"]).tolist()


@pytest.mark.parametrize("context_share", [0.0, 1.0])
def test_the_context_is_a_part_of_the_basket_before_earlier_purchases(log, examples, context_share):
    maker = batches(log, examples, context_share=context_share, history_dropout=0.0)
    from_basket = pushed_out = 0
    for start in range(0, len(examples), 64):
        chosen = np.arange(start, min(start + 64, len(examples)))
        batch = maker.make(chosen, np.random.default_rng(start))
        np.testing.assert_array_equal(batch.customers, examples.customer[chosen])
        np.testing.assert_array_equal(batch.items[batch.positives], examples.article[chosen])
        assert batch.histories.mask.shape == (len(chosen), LENGTH)
        assert (batch.histories.mask[:, 1:] <= batch.histories.mask[:, :-1]).all()  # no holes
        assert (batch.histories.days_since[~batch.histories.mask] == 0).all()
        for row, (customer, day) in enumerate(zip(examples.customer[chosen], examples.day[chosen], strict=True)):
            known = batch.histories.mask[row]
            seen, days_since = batch.items[batch.histories.articles[row][known]], batch.histories.days_since[row][known]
            rows = slice(log.offsets[customer], log.offsets[customer + 1])
            article, ago = log.article[rows][::-1], day.astype(int) - log.day[rows][::-1]
            # A part of the basket without the target, then the earlier purchases, newest first.
            basket = int((days_since == 0).sum())
            today = set(article[ago == 0].tolist()) - {batch.items[batch.positives[row]]}
            assert set(seen[:basket].tolist()) <= today
            earlier = np.flatnonzero(ago > 0)[: LENGTH - basket]
            assert seen[basket:].tolist() == article[earlier].tolist()
            assert days_since[basket:].tolist() == ago[earlier].tolist()
            from_basket += basket
            pushed_out += 0 < basket < LENGTH == len(seen)
    assert (from_basket > 0) == (pushed_out > 0) == (context_share > 0)


def test_whole_histories_are_hidden_for_a_share_of_the_examples(log, examples):
    def masks(history_dropout):
        maker = batches(log, examples, context_share=0.0, history_dropout=history_dropout)
        return maker.make(np.arange(len(examples)), np.random.default_rng(0)).histories.mask

    whole, some = masks(0.0), masks(0.25)
    past = whole.any(axis=1)
    hidden = past & ~some.any(axis=1)
    assert hidden[past].mean() == pytest.approx(0.25, abs=0.05)
    np.testing.assert_array_equal(some[~hidden], whole[~hidden])


def test_a_batch_across_two_weeks_has_the_mean_of_their_shares(log, examples):
    weeks_ago = (examples.day[-1] - examples.day) // 7
    first, second = (np.flatnonzero(weeks_ago == block) for block in (2, 1))
    chosen = np.concatenate([first[-48:], second[:16]])
    batch = batches(log, examples).make(chosen, np.random.default_rng(0))
    counts = [Counter(examples.article[week].tolist()) for week in (first, second)]
    share = {
        article: 48 / 64 * counts[0][article] / len(first) + 16 / 64 * counts[1][article] / len(second)
        for article in range(ARTICLES)
    }
    popularity = [np.log(1 + ARTICLES * share[article]) for article in batch.items.tolist()]
    np.testing.assert_allclose(batch.popularity, popularity, rtol=1e-5)
    sampled = batch.items[batch.negatives.places].tolist()
    expected = [np.log((64 - 1) * share[article]) for article in sampled]
    np.testing.assert_allclose(batch.negatives.log_expected_count, expected, rtol=1e-5)


def test_an_epoch_has_every_example_once_in_batches_of_whole_baskets_near_in_time(log, examples):
    day, customer = examples.day.tolist(), examples.customer.tolist()
    with mock.patch.object(BatchMaker, "make", lambda _, chosen, rng: chosen):
        epoch = list(batches(log, examples).epoch(np.random.default_rng(3)))
    assert sorted(np.concatenate(epoch).tolist()) == list(range(len(examples)))
    order = []
    for chosen in epoch:
        runs = [key for key, _ in groupby(chosen.tolist(), lambda i: (day[i], customer[i]))]
        assert len(runs) == len(set(runs)) > 1, "a basket is torn apart"
        order += runs
        assert np.ptp(examples.day[chosen]) <= 4  # 64 examples, about 28 a day
    first = [customer for day, customer in order if day == order[0][0]]
    assert first != sorted(first), "the baskets of a day are not shuffled"
    assert [examples.day[chosen].min() for chosen in epoch] != sorted(examples.day[chosen].min() for chosen in epoch)


def test_a_batch_reads_the_catalogue_no_later_than_any_of_its_days(log, examples):
    chosen = np.arange(100, 164)
    batch = batches(log, examples).make(chosen, np.random.default_rng(0))
    assert batch.day == examples.day[chosen].min()


def test_expected_counts_are_what_sampling_gives(log):
    # All examples in one week-long block, so that every batch is a random part of the same pool.
    examples = make_examples(log, 14, 21)
    maker = batches(log, examples, batch_size=len(examples) // 2)
    rng = np.random.default_rng(0)
    counts, expected, rounds = np.zeros(ARTICLES), np.zeros(ARTICLES), 400
    for _ in range(rounds):
        chosen = rng.choice(len(examples), maker.batch_size, replace=False)
        batch = maker.make(chosen, rng)
        articles = batch.items[batch.negatives.places]
        counts += np.bincount(articles, minlength=ARTICLES)
        expected[articles] = np.exp(batch.negatives.log_expected_count)
    # The correction counts n - 1 draws, since an example's own place is no sample; the test counts n.
    np.testing.assert_allclose(counts / rounds, expected, rtol=0.15)


def test_collisions_are_the_own_article_and_other_purchases_of_the_customer(log, examples):
    batch = batches(log, examples).make(np.arange(200, 264), np.random.default_rng(0))
    own, others = batch.items[batch.positives].tolist(), batch.items[batch.negatives.places].tolist()
    customers = batch.customers.tolist()
    expected = [
        [article == other or customer == another for other, another in zip(others, customers, strict=True)]
        for article, customer in zip(own, customers, strict=True)
    ]
    assert batch.negatives.collisions.tolist() == expected


def test_sampled_negatives_were_on_sale_and_never_bought(log, examples):
    negatives = sample_negatives(log, examples, END, per_positive=3, seed=0)
    known = log.before(END)
    bought = set(zip(known.customer.tolist(), known.article.tolist(), strict=True))
    sold = set(known.article.tolist())
    assert negatives.shape == (len(examples), 3)
    for customer, row in zip(examples.customer.tolist(), negatives.tolist(), strict=True):
        for article in row:
            assert (customer, article) not in bought
            assert article in sold
    np.testing.assert_array_equal(negatives, sample_negatives(known, examples, END, per_positive=3, seed=0))


def test_the_negatives_of_an_example_depend_on_no_other(log, examples):
    whole = sample_negatives(log, examples, END, per_positive=3, seed=5)
    on_sale = on_sale_by_week(log, START, END)
    for some in (examples.customer < 20, examples.customer >= 20):
        part = Examples(examples.customer[some], examples.article[some], examples.day[some])
        drawn = sample_negatives(log, part, END, per_positive=3, seed=5, on_sale=on_sale)
        np.testing.assert_array_equal(drawn, whole[some])
    assert (whole != sample_negatives(log, examples, END, per_positive=3, seed=6)).mean() > 0.9


def test_negatives_are_drawn_uniformly_from_what_was_on_sale():
    # 5,000 customers buy article 0, one customer buys articles 1 to 20, and article 21 is never sold.
    bought = pd.DataFrame({"customer": np.append(np.arange(5_000), np.full(20, 5_000)), "price": 1.0})
    bought["article"] = np.append(np.zeros(5_000, int), np.arange(1, 21))
    bought = bought.assign(t_dat=pd.Timestamp("2020-08-04"), sales_channel_id=1)
    log = PurchaseLog.from_transactions(bought, 5_001, 22)
    drawn = sample_negatives(log, make_examples(log, 0, 1), 7, per_positive=4, seed=0)[:5_000]
    counts = np.bincount(drawn.ravel(), minlength=22)
    assert counts[0] == counts[21] == 0
    assert ((counts[1:21] - 1_000) ** 2 / 1_000).sum() < 43.8, "chi-square of 19 degrees of freedom: p < 0.001"
    correlation = np.asarray(np.corrcoef(drawn.T))[np.triu_indices(4, 1)]
    assert abs(correlation).max() < 0.06, "the draws of an example are correlated"


def test_pair_batches_use_the_sampled_negatives(log, examples):
    negatives = sample_negatives(log, examples, END, per_positive=3, seed=0)
    paired = Examples(examples.customer, examples.article, examples.day, negatives)
    chosen = np.array([5, 60, 7])
    batch = batches(log, paired, use_in_batch_negatives=False).make(chosen, np.random.default_rng(0))
    np.testing.assert_array_equal(batch.items[batch.negatives.places], negatives[chosen])
    with pytest.raises(ValueError, match="sampled negatives"):
        batches(log, examples, use_in_batch_negatives=False)


def test_no_examples_is_an_error(log):
    with pytest.raises(ValueError, match="no training examples"):
        batches(log, make_examples(log, 100, 110))
