"""Details, filters and search of the catalogue, against the table itself."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from hm_utils.data.purchases import PurchaseLog
from hm_utils.data.segments import NEW_IN_SHOP_DAYS
from hm_utils.serving.catalogue import FILTERS, Catalogue, with_sales
from tests.helpers.data import ARTICLES, article_table, random_log, random_transactions
from tests.helpers.served import catalogue_of


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return catalogue_of(article_table(), random_log())


def test_a_saved_catalogue_is_the_same(catalogue, tmp_path):
    with_sales(article_table(), random_log()).to_parquet(tmp_path / "articles.parquet", index=False)
    loaded = Catalogue.load(tmp_path / "articles.parquet")
    assert len(loaded) == ARTICLES
    assert [loaded.details(row) for row in range(ARTICLES)] == [catalogue.details(row) for row in range(ARTICLES)]
    np.testing.assert_array_equal(loaded.search("black", ARTICLES), catalogue.search("black", ARTICLES))


def test_ids_are_found_whole(catalogue):
    ids = article_table()["article_id"].tolist()
    unknown = ["9999999999", ids[0] + "1", ids[0][:9], ""]
    assert catalogue.rows([ids[7], ids[0], *unknown]).tolist() == [7, 0, -1, -1, -1, -1]
    assert catalogue.rows([]).tolist() == []


def test_details_are_the_tables_and_the_price_is_the_mean_paid(catalogue):
    table, bought = article_table(), random_transactions()
    for row in (0, 3, 5):
        found = catalogue.details(row)
        assert found["name"] == table["prod_name"][row]
        assert found["colour_group"] == table["colour_group_name"][row]
        assert found["price"] == pytest.approx(bought.loc[bought["article"] == row, "price"].mean(), abs=1e-5)
    assert catalogue.details(3)["description"] is None
    assert catalogue.details(ARTICLES - 1)["price"] is None  # never sold


@pytest.mark.parametrize(
    "wanted",
    [
        {},
        {"colour_group": ["Black"]},
        {"colour_group": ["Black", "White"], "product_type": ["Boots"]},
        {"index_group": ["Menswear"], "section": ["Denim"], "product_group": ["Shoes"], "colour_group": ["White"]},
        {"colour_group": ["black"]},
        {"colour_group": ["Black", "no such colour"]},
        {"product_type": ["no such type"]},
    ],
    ids=str,
)
@pytest.mark.parametrize(("lowest", "highest"), [(None, None), (0.05, None), (0.05, 0.06), (None, 0.0)])
def test_a_filter_leaves_what_fits_every_name_and_the_price(catalogue, wanted, lowest, highest):
    table = article_table()
    price = random_transactions().groupby("article")["price"].mean().reindex(range(ARTICLES))
    kept = pd.Series(True, index=range(ARTICLES))
    for name, values in wanted.items():
        kept &= table[FILTERS[name]].isin(values)
    if lowest is not None:
        kept &= price >= lowest
    if highest is not None:
        kept &= price <= highest
    assert catalogue.matching(wanted, lowest, highest).tolist() == np.flatnonzero(kept).tolist()


@pytest.mark.filterwarnings("error")
def test_prices_beyond_any_are_infinite(catalogue):
    sold = catalogue.matching({}, 0.0)
    assert 0 < len(sold) < ARTICLES
    assert catalogue.matching({}, 0.0, 1e300).tolist() == sold.tolist()
    assert catalogue.matching({}, 1e300).tolist() == []


def test_an_article_is_new_for_two_weeks_after_its_first_sale():
    transactions = random_transactions()
    late = transactions["t_dat"].max() - pd.Timedelta(days=NEW_IN_SHOP_DAYS)
    # Article 7 sells only after that morning, 8 on it too: the last days are those after it.
    kept = ~((transactions["article"] == 7) & (transactions["t_dat"] <= late))
    kept &= ~((transactions["article"] == 8) & (transactions["t_dat"] < late))
    first = transactions.index[(transactions["t_dat"] == late)][0]
    transactions.loc[first, "article"] = 8
    kept[first] = True
    log = PurchaseLog.from_transactions(transactions[kept], 60, ARTICLES)
    catalogue = catalogue_of(article_table(), log)
    found = [catalogue.details(row)["new_in_shop"] for row in range(ARTICLES)]
    sold = transactions[kept].groupby("article")["t_dat"].min()
    assert np.flatnonzero(found).tolist() == sorted(sold.index[sold > late])
    assert found[7]
    assert not found[8]
    assert not found[ARTICLES - 1]  # never sold


def test_an_article_without_a_value_fits_no_filter_of_it():
    table = article_table()
    table.loc[4, "colour_group_name"] = None
    catalogue = catalogue_of(table, random_log())
    rows = catalogue.matching({"colour_group": ["Black", "White"]})
    assert rows.tolist() == [row for row in range(ARTICLES) if row != 4]
    assert catalogue.values("colour_group") == ["Black", "White"]


@pytest.mark.parametrize("words", ["black", "BLACK boo", "  jer  co ", "wool", "ool", "zebra", "wo wo", "a.c"])
def test_search_finds_the_beginnings_of_words_best_sellers_first(catalogue, words):
    table = article_table()
    names = ["prod_name", "product_type_name", "colour_group_name", "department_name", "section_name"]
    has = table[names].agg(" ".join, axis=1).str.lower().str.split()
    fits = [
        row for row in range(ARTICLES) if all(any(w.startswith(b) for w in has[row]) for b in words.lower().split())
    ]
    sales = with_sales(table, random_log())["recent_sales"]
    expected = sorted(fits, key=lambda row: (-sales[row], row))
    assert catalogue.search(words, ARTICLES).tolist() == expected
    assert catalogue.search(words, 2).tolist() == expected[:2]
