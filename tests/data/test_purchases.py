"""The log against a slow pandas table, and that no answer includes the day itself or later."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from hm_utils.data.purchases import NEVER, Baskets, PurchaseLog

N_CUSTOMERS, N_ARTICLES, N_DAYS = 40, 15, 25
FIRST = np.datetime64("2020-01-06")
DAYS = [0, 1, 7, N_DAYS - 1, N_DAYS, N_DAYS + 100]


def random_transactions(seed: int) -> pd.DataFrame:
    """Unsorted; customers 0, 20 and 39 buy nothing, some rows are repeated, the first and the last day have sales."""
    rng = np.random.default_rng(seed)
    n = 300
    day = rng.integers(N_DAYS, size=n)
    day[:2] = 0, N_DAYS - 1
    frame = pd.DataFrame(
        {
            "t_dat": FIRST + day.astype("timedelta64[D]"),
            "customer": rng.choice(np.setdiff1d(np.arange(N_CUSTOMERS), [0, 20, 39]), size=n).astype(np.int32),
            "article": rng.integers(N_ARTICLES, size=n).astype(np.int32),
            "price": rng.random(n).astype(np.float32),
            "sales_channel_id": rng.integers(1, 3, size=n).astype(np.int8),
        }
    )
    return pd.concat([frame, frame.iloc[::7]], ignore_index=True)


@pytest.fixture(params=range(3))
def transactions(request: pytest.FixtureRequest) -> pd.DataFrame:
    return random_transactions(request.param)


@pytest.fixture
def table(transactions: pd.DataFrame) -> pd.DataFrame:
    """The slow reference: the rows in the order of the log, with a day number."""
    table = transactions.assign(day=(transactions["t_dat"] - FIRST).dt.days)
    return table.sort_values(["customer", "day"], kind="stable").reset_index(drop=True)


@pytest.fixture
def log(transactions: pd.DataFrame) -> PurchaseLog:
    return PurchaseLog.from_transactions(transactions, N_CUSTOMERS, N_ARTICLES)


def assert_holds(log: PurchaseLog, table: pd.DataFrame) -> None:
    """The log has exactly these rows, in this order."""
    assert len(log) == len(table)
    assert (log.n_customers, log.n_articles) == (N_CUSTOMERS, N_ARTICLES)
    for name, column in {"customer": "customer", "article": "article", "day": "day", "price": "price"}.items():
        np.testing.assert_array_equal(getattr(log, name), table[column], err_msg=name)
    np.testing.assert_array_equal(log.channel, table["sales_channel_id"])
    for customer in range(N_CUSTOMERS):
        expected = table.loc[table["customer"] == customer, "article"]
        np.testing.assert_array_equal(log.article[log.offsets[customer] : log.offsets[customer + 1]], expected)


def as_sets(baskets: Baskets) -> dict[int, list[int]]:
    parts = np.split(baskets.articles, baskets.offsets[1:-1])
    return {int(c): part.tolist() for c, part in zip(baskets.customers, parts, strict=True)} if len(baskets) else {}


def slow_baskets(table: pd.DataFrame, start: int, end: int) -> dict[int, list[int]]:
    rows = table[(table["day"] >= start) & (table["day"] < end)]
    return {int(str(c)): sorted(part.unique().tolist()) for c, part in rows.groupby("customer")["article"]}


def test_log_is_the_transactions_sorted_by_customer_then_day(log: PurchaseLog, table: pd.DataFrame) -> None:
    assert_holds(log, table)
    assert log.last_day == N_DAYS - 1
    assert (log.date(0), log.date(1), log.date(log.last_day)) == ("2020-01-06", "2020-01-07", "2020-01-30")
    assert [str(x.dtype) for x in (log.article, log.day, log.price, log.channel)] == [
        "int32",
        "int16",
        "float32",
        "int8",
    ]


def test_purchases_of_one_day_keep_the_order_of_the_file() -> None:
    transactions = pd.DataFrame(
        {
            "t_dat": pd.to_datetime(["2020-01-02"] * 4 + ["2020-01-01"]),
            "customer": [0] * 5,
            "article": [3, 1, 2, 1, 9],
            "price": [0.0] * 5,
            "sales_channel_id": [1] * 5,
        }
    )
    assert PurchaseLog.from_transactions(transactions, 1, 10).article.tolist() == [9, 3, 1, 2, 1]


def test_no_transactions_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one row"):
        PurchaseLog.from_transactions(random_transactions(0).iloc[:0], 3, 3)


def test_the_first_sale_of_every_article(log: PurchaseLog, table: pd.DataFrame) -> None:
    cut = log.before(2)
    expected = table[table["day"] < 2].groupby("article")["day"].min().reindex(range(N_ARTICLES), fill_value=NEVER)
    assert cut.first_sale_day.tolist() == expected.tolist()
    assert NEVER in cut.first_sale_day


@pytest.mark.parametrize("day", DAYS)
def test_before_is_the_log_of_the_earlier_rows(log: PurchaseLog, table: pd.DataFrame, day: int) -> None:
    cut = log.before(day)
    assert_holds(cut, table[table["day"] < day].reset_index(drop=True))
    assert cut.first_date == log.first_date


def test_before_of_before_is_the_earlier(log: PurchaseLog, table: pd.DataFrame) -> None:
    assert_holds(log.before(12).before(5), table[table["day"] < 5].reset_index(drop=True))
    assert_holds(log.before(5).before(12), table[table["day"] < 5].reset_index(drop=True))


@pytest.mark.parametrize("day", [-3, *DAYS])
def test_history_is_what_was_bought_strictly_before(log: PurchaseLog, table: pd.DataFrame, day: int) -> None:
    customers = np.arange(N_CUSTOMERS)
    ends = log.history_ends(customers, day)
    for customer, end in zip(customers, ends, strict=True):
        expected = table[(table["customer"] == customer) & (table["day"] < day)]
        np.testing.assert_array_equal(log.article[log.offsets[customer] : end], expected["article"])
        assert (log.day[log.offsets[customer] : end] < day).all()


def test_histories_as_of_a_day_each(log: PurchaseLog, table: pd.DataFrame) -> None:
    rng = np.random.default_rng(1)
    customers = rng.integers(N_CUSTOMERS, size=200)  # in any order, repeated
    days = rng.integers(-2, N_DAYS + 5, size=200)
    counts = log.history_ends(customers, days) - log.offsets[customers]
    expected = [((table["customer"] == c) & (table["day"] < d)).sum() for c, d in zip(customers, days, strict=True)]
    np.testing.assert_array_equal(counts, expected)


def test_customer_without_purchases_has_an_empty_history(log: PurchaseLog) -> None:
    for customer in (0, 20, 39):  # first, in between, last
        np.testing.assert_array_equal(log.history_ends([customer] * 3, [0, 5, 999]), [log.offsets[customer]] * 3)


def test_history_ends_of_the_cut_log_are_those_of_the_whole(log: PurchaseLog) -> None:
    customers = np.arange(N_CUSTOMERS)
    for day in (1, 10, N_DAYS):
        cut = log.before(day)
        np.testing.assert_array_equal(
            cut.history_ends(customers, day) - cut.offsets[customers],
            log.history_ends(customers, day) - log.offsets[customers],
        )


@pytest.mark.parametrize(("start", "end"), [(0, 7), (3, 4), (10, N_DAYS), (-5, 2), (20, 999), (-9, 999)])
def test_between_two_days(log: PurchaseLog, table: pd.DataFrame, start: int, end: int) -> None:
    rows = table[(table["day"] >= start) & (table["day"] < end)]
    assert len(rows) > 0
    np.testing.assert_array_equal(np.sort(log.rows_between(start, end)), rows.index)
    assert (np.diff(log.day[log.rows_between(start, end)]) >= 0).all()
    np.testing.assert_array_equal(
        log.sales_between(start, end), rows["article"].value_counts().reindex(range(N_ARTICLES), fill_value=0)
    )
    baskets = log.baskets_between(start, end)
    assert as_sets(baskets) == slow_baskets(table, start, end)
    assert (np.diff(baskets.customers) > 0).all()
    assert baskets.customers.dtype == baskets.articles.dtype == np.int32


@pytest.mark.parametrize(("start", "end"), [(5, 5), (9, 3), (N_DAYS, N_DAYS + 7), (-7, 0), (200, 100)])
def test_between_days_without_purchases(log: PurchaseLog, start: int, end: int) -> None:
    assert len(log.rows_between(start, end)) == 0
    assert log.sales_between(start, end).tolist() == [0] * N_ARTICLES
    baskets = log.baskets_between(start, end)
    assert len(baskets) == 0
    assert baskets.offsets.tolist() == [0]
    assert len(baskets.sizes) == len(baskets.articles) == 0


def test_selected_baskets(log: PurchaseLog) -> None:
    baskets = log.baskets_between(0, N_DAYS)
    whole = as_sets(baskets)
    keep = baskets.customers % 3 == 1
    part = baskets.select(keep)
    assert as_sets(part) == {c: articles for c, articles in whole.items() if c % 3 == 1}
    assert part.sizes.tolist() == [len(whole[int(c)]) for c in part.customers]
    assert len(baskets.select(np.zeros(len(baskets), dtype=bool))) == 0


def test_saved_and_loaded_log_is_the_same(log: PurchaseLog, table: pd.DataFrame, tmp_path: Path) -> None:
    log.save(tmp_path / "new" / "folder")
    loaded = PurchaseLog.load(tmp_path / "new" / "folder")
    assert_holds(loaded, table)
    assert loaded.first_date == log.first_date
    assert loaded.date(3) == log.date(3)
    assert as_sets(loaded.baskets_between(3, 9)) == as_sets(log.baskets_between(3, 9))
    customers = np.arange(N_CUSTOMERS)
    np.testing.assert_array_equal(loaded.history_ends(customers, 9), log.history_ends(customers, 9))
    assert_holds(loaded.before(9), table[table["day"] < 9].reset_index(drop=True))
    assert not any(path.suffix == ".pkl" for path in tmp_path.rglob("*"))
