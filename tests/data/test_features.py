"""Vocabularies, encoders and the catalogue's state, and that all of them use the past only."""

import numpy as np
import pandas as pd
import pytest

from hm_utils.data.features import (
    ARTICLE_COLUMNS,
    MISSING,
    STATE_COLUMNS,
    UNKNOWN,
    CatalogueState,
    Encoders,
    Vocabulary,
    mean_prices,
)
from tests.helpers.data import (
    ARTICLES,
    CUSTOMERS,
    article_table,
    customer_table,
    random_log,
    random_transactions,
    vocabulary,
)

CUT = 30


@pytest.fixture(scope="module")
def tables():
    return article_table(), customer_table(), random_log()


def test_vocabulary_codes_missing_unknown_and_known():
    vocabulary = Vocabulary.fit(pd.Series(["b", "a", None, "a"]))
    assert vocabulary.size == 4
    assert vocabulary.encode(pd.Series(["a", "b", None, "c"])).tolist() == [2, 3, MISSING, UNKNOWN]


def test_a_vocabulary_excludes_rare_values():
    assert Vocabulary.fit(pd.Series(["a", "a", "b"]), min_count=2).size == 3


def test_whole_numbers_have_the_same_code_whatever_their_type():
    vocabulary = Vocabulary.fit(pd.Series([7, 8], dtype="Int32"))
    assert vocabulary.encode(pd.Series([8, 7, pd.NA], dtype="Int32")).tolist() == [3, 2, MISSING]


def test_an_article_first_sold_after_the_cut_is_unknown(tables):
    articles, customers, log = tables
    encoders = Encoders.fit(articles, customers, log, CUT, mean_prices(log, CUT))
    codes = encoders.encode_articles(articles, mean_prices(log, CUT))[:, 0]
    sold = log.sales_between(0, CUT) > 0
    assert sold.any()
    assert not sold.all()
    assert (codes[~sold] == UNKNOWN).all()
    assert len(set(codes[sold])) == sold.sum()


def test_vocabularies_are_fitted_on_training_days_only(tables):
    articles, customers, log = tables
    late = log.sales_between(0, CUT) == 0
    odd = articles.copy()
    odd.loc[late, "product_group_name"] = "Seen only after the cut"
    encoders = Encoders.fit(odd, customers, log, CUT, mean_prices(log, CUT))
    assert "Seen only after the cut" not in vocabulary(encoders.article["product_group_name"])
    never = np.diff(log.before(CUT).offsets) == 0
    strange = customers.copy()
    strange.loc[never, "club_member_status"] = "NEW"
    assert never.any()
    encoders = Encoders.fit(articles, strange, log, CUT, mean_prices(log, CUT))
    assert "NEW" not in vocabulary(encoders.customer["club_member_status"])


def test_whole_log_and_physically_cut_log_give_the_same(tables):
    articles, customers, log = tables
    cut = log.before(CUT)
    whole_encoders = Encoders.fit(articles, customers, log, CUT, mean_prices(log, CUT))
    cut_encoders = Encoders.fit(articles, customers, cut, CUT, mean_prices(cut, CUT))
    assert whole_encoders.article == cut_encoders.article
    assert whole_encoders.customer == cut_encoders.customer
    assert whole_encoders.price_edges == cut_encoders.price_edges
    np.testing.assert_array_equal(mean_prices(log, CUT), mean_prices(cut, CUT))
    for day in (1, 17, CUT):
        np.testing.assert_array_equal(CatalogueState(log).as_of(day), CatalogueState(cut).as_of(day))


def test_the_state_counts_sales_before_the_day():
    transactions = random_transactions()
    log = random_log()
    day = (transactions["t_dat"] - transactions["t_dat"].min()).dt.days
    state = pd.DataFrame(CatalogueState(log).as_of(CUT), columns=list(STATE_COLUMNS))
    for column, window in (("log_share_1d", 1), ("log_share_7d", 7), ("log_share_28d", 28)):
        recent = transactions[(day < CUT) & (day >= CUT - window)]["article"].value_counts()
        counts = recent.reindex(range(ARTICLES), fill_value=0)
        expected = np.log((counts + 1) / (counts.sum() + ARTICLES) * ARTICLES)
        np.testing.assert_allclose(state[column], expected, rtol=1e-5)
    first = day[day < CUT].groupby(transactions["article"]).min().reindex(range(ARTICLES))
    np.testing.assert_allclose(state["log_age"], np.log1p(CUT - first).fillna(0), rtol=1e-5)
    assert (state["never_sold"] == first.isna()).all()


def test_an_article_is_unsold_on_the_morning_of_its_first_sale(tables):
    log = tables[2]
    state = CatalogueState(log)
    first_sale = {article: int(log.day[log.article == article].min()) for article in np.unique(log.article)}
    never_sold, log_age = STATE_COLUMNS.index("never_sold"), STATE_COLUMNS.index("log_age")
    for article, day in first_sale.items():
        assert state.as_of(day)[article, never_sold] == 1
        assert state.as_of(day + 1)[article, never_sold] == 0
        assert state.as_of(day + 1)[article, log_age] == pytest.approx(np.log1p(1))


def test_the_states_of_sixteen_weeks_are_kept(tables):
    state = CatalogueState(tables[2])
    first = [state.as_of(day) for day in range(16 * 7)]
    assert all(state.as_of(day) is kept for day, kept in enumerate(first))


def test_mean_prices_are_of_the_past(tables):
    transactions, log = random_transactions(), tables[2]
    day = (transactions["t_dat"] - transactions["t_dat"].min()).dt.days
    expected = transactions[day < CUT].groupby("article")["price"].mean().reindex(range(ARTICLES))
    np.testing.assert_allclose(mean_prices(log, CUT), expected, rtol=1e-5)


def test_customers_without_any_attribute_are_encoded(tables):
    articles, customers, log = tables
    empty = customers.assign(**{name: None for name in customers.columns if name != "customer_id"})
    empty["age"] = empty["age"].astype("float32")
    codes = Encoders.fit(articles, empty, log, CUT, mean_prices(log, CUT)).encode_customers(empty)
    assert codes.shape == (CUSTOMERS, 6)
    assert (codes == MISSING).all()


def test_one_customer_has_the_codes_of_the_table(tables):
    articles, customers, log = tables
    encoders = Encoders.fit(articles, customers, log, CUT, mean_prices(log, CUT))
    changed = customers.assign(age=customers["age"] + 0.5, club_member_status="no such status", FN=0.0)
    for table in (customers, changed):
        rows = table.astype(object).where(table.notna(), None).to_dict("records")
        found = [encoders.encode_customer(row) for row in rows]
        np.testing.assert_array_equal(np.concatenate(found), encoders.encode_customers(table))
    assert (encoders.encode_customer({}) == MISSING).all()
    assert encoders.encode_customer({"FN": 1})[0].tolist() == encoders.encode_customer({"FN": 1.0})[0].tolist()


def test_codes_fit_their_tables_and_survive_saving(tables, tmp_path):
    articles, customers, log = tables
    encoders = Encoders.fit(articles, customers, log, CUT, mean_prices(log, CUT))
    encoders.save(tmp_path)
    loaded = Encoders.load(tmp_path)
    prices = mean_prices(log, CUT)
    codes = encoders.encode_articles(articles, prices)
    np.testing.assert_array_equal(codes, loaded.encode_articles(articles, prices))
    np.testing.assert_array_equal(encoders.encode_customers(customers), loaded.encode_customers(customers))
    assert codes.shape == (ARTICLES, len(ARTICLE_COLUMNS) + 1)
    assert (codes.max(axis=0) < encoders.article_sizes).all()
    assert (encoders.encode_customers(customers).max(axis=0) < encoders.customer_sizes).all()


def test_a_fit_without_purchases_is_an_error(tables):
    articles, customers, log = tables
    with pytest.raises(ValueError, match="nothing was bought before day 0"):
        Encoders.fit(articles, customers, log, 0, mean_prices(log, 0))
