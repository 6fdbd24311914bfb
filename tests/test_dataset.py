"""Examples, histories and batches: strictly before the day, and complete."""

import numpy as np
import pytest

from hm_utils.dataset import BatchMaker, Examples, histories_as_of, make_examples, sample_negatives
from tests.data import ARTICLES, random_log, random_transactions

START, END, LENGTH = 10, 40, 6


@pytest.fixture(scope="module")
def log():
    return random_log()


@pytest.fixture(scope="module")
def examples(log):
    return make_examples(log, START, END)


def batches(log, examples, **options):
    settings = {"batch_size": 64, "history_length": LENGTH, "uniform_negatives": 20} | options
    return BatchMaker(log, examples, **settings)


def test_examples_are_the_distinct_purchases_of_the_days(examples):
    frame = random_transactions()
    frame["day"] = (frame["t_dat"] - frame["t_dat"].min()).dt.days
    expected = frame[(frame["day"] >= START) & (frame["day"] < END)][["customer", "article", "day"]].drop_duplicates()
    found = set(zip(examples.customer.tolist(), examples.article.tolist(), examples.day.tolist(), strict=True))
    assert len(found) == len(examples) == len(expected)
    assert found == set(expected.itertuples(index=False, name=None))
    assert (np.diff(examples.day) >= 0).all()


def test_histories_equal_a_slow_look_at_the_transactions(log):
    frame = random_transactions()
    frame["day"] = (frame["t_dat"] - frame["t_dat"].min()).dt.days
    customers = np.arange(log.n_customers, dtype=np.int32)
    for as_of in (0, 1, 25, 50, 80):
        found = histories_as_of(log, customers, as_of, LENGTH)
        for customer in customers:
            past = frame[(frame["customer"] == customer) & (frame["day"] < as_of)].sort_values("day", kind="stable")
            past = past.iloc[::-1].head(LENGTH)
            known = found.mask[customer]
            assert found.articles[customer][known].tolist() == past["article"].tolist()
            assert found.days_since[customer][known].tolist() == (as_of - past["day"]).tolist()


def test_no_history_holds_the_examples_day_or_later(log, examples):
    for batch in batches(log, examples, session_share=0.0).epoch(np.random.default_rng(0)):
        assert (batch.days_since[batch.mask] >= 1).all()


def test_a_session_adds_other_articles_of_the_basket_and_nothing_later(log, examples):
    seen = 0
    for batch in batches(log, examples, session_share=1.0).epoch(np.random.default_rng(0)):
        basket = (batch.days_since == 0) & batch.mask
        assert (batch.days_since[batch.mask] >= 0).all()
        own = batch.items[batch.positives][:, None] == batch.items[batch.history]
        assert not (own & basket).any()
        seen += basket.sum()
    assert seen > 0


def test_an_epoch_has_every_example_once(log, examples):
    maker = batches(log, examples)
    keys = []
    for batch in maker.epoch(np.random.default_rng(3)):
        articles = batch.items[batch.positives]
        keys += list(zip(batch.customers.tolist(), articles.tolist(), strict=True))
    expected = list(zip(examples.customer.tolist(), examples.article.tolist(), strict=True))
    assert sorted(keys) == sorted(expected)


def test_a_batch_is_a_run_of_neighbours_in_time(log, examples):
    days: dict[tuple[int, int], set[int]] = {
        (c, a): set() for c, a in zip(examples.customer.tolist(), examples.article.tolist(), strict=True)
    }
    for customer, article, day in zip(examples.customer, examples.article, examples.day, strict=True):
        days[customer, article].add(int(day))
    # 64 examples of about 28 a day are at most four days, whatever the order of the batches.
    for batch in batches(log, examples).epoch(np.random.default_rng(3)):
        for customer, article in zip(batch.customers, batch.items[batch.positives], strict=True):
            assert any(batch.day <= day <= batch.day + 4 for day in days[customer, article])


def test_a_batch_reads_the_catalogue_no_later_than_any_of_its_days(log, examples):
    chosen = np.arange(100, 164)
    batch = batches(log, examples).make(chosen, np.random.default_rng(0))
    assert batch.day == examples.day[chosen].min()


def test_the_physically_cut_log_gives_the_same_batches(log, examples):
    cut = log.before(END)
    for whole, short in zip(
        batches(log, examples).epoch(np.random.default_rng(1)),
        batches(cut, make_examples(cut, START, END)).epoch(np.random.default_rng(1)),
        strict=True,
    ):
        for name in ("items", "customers", "positives", "negatives", "history", "days_since", "mask", "collisions"):
            np.testing.assert_array_equal(getattr(whole, name), getattr(short, name))
        np.testing.assert_allclose(whole.log_expected_count, short.log_expected_count)


def test_expected_counts_are_what_sampling_gives(log):
    # All examples in one week-long block, so that every batch is a random part of the same pool.
    examples = make_examples(log, 14, 21)
    maker = batches(log, examples, batch_size=len(examples) // 2, uniform_negatives=40)
    rng = np.random.default_rng(0)
    counts, expected, rounds = np.zeros(ARTICLES), np.zeros(ARTICLES), 400
    for _ in range(rounds):
        chosen = rng.choice(len(examples), maker.batch_size, replace=False)
        batch = maker.make(chosen, rng)
        articles = batch.items[batch.negatives]
        counts += np.bincount(articles, minlength=ARTICLES)
        expected[articles] = np.exp(batch.log_expected_count)
    # An example's own place is no sample: n - 1 others are drawn, against n counted here.
    np.testing.assert_allclose(counts / rounds, expected, rtol=0.15)


def test_collisions_are_the_own_article_and_other_purchases_of_the_customer(log, examples):
    batch = batches(log, examples).make(np.arange(200, 264), np.random.default_rng(0))
    n = len(batch.customers)
    own, others = batch.items[batch.positives], batch.items[batch.negatives]
    for i in range(n):
        for j in range(len(others)):
            same_customer = j < n and batch.customers[i] == batch.customers[j]
            assert batch.collisions[i, j] == (own[i] == others[j] or same_customer)
    assert batch.collisions.diagonal().all()


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


def test_pair_batches_use_the_sampled_negatives(log, examples):
    negatives = sample_negatives(log, examples, END, per_positive=3, seed=0)
    paired = Examples(examples.customer, examples.article, examples.day, negatives)
    chosen = np.array([5, 60, 7])
    batch = batches(log, paired, use_in_batch_negatives=False).make(chosen, np.random.default_rng(0))
    np.testing.assert_array_equal(batch.items[batch.negatives], negatives[chosen])
    assert batch.log_expected_count is None
    with pytest.raises(ValueError, match="sampled negatives"):
        batches(log, examples, use_in_batch_negatives=False)


def test_no_examples_is_said(log):
    with pytest.raises(ValueError, match="no training examples"):
        batches(log, make_examples(log, 100, 110))
