"""The computations and figures of notebook 01, and the notebook itself on awkward data."""

import json
import os
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

from hm_utils.analysis import eda
from hm_utils.data import raw_columns
from hm_utils.data.purchases import PurchaseLog
from hm_utils.data.raw import read_raw
from hm_utils.plotting import eda_figures, evaluation_figures, style, training_figures, trends
from tests.helpers.figures import check_figure

mpl.use("Agg")
N_ARTICLES, N_CUSTOMERS = 50, 80
NOTEBOOK = Path(__file__).resolve().parents[2] / "notebooks" / "01_eda.ipynb"


def make_transactions(days: int = 200, rows: int = 1_500, seed: int = 0) -> pd.DataFrame:
    """A log with skewed popularity, many baskets and repurchases, without customer 0 and article 0."""
    rng = np.random.default_rng(seed)
    day = np.sort(rng.integers(0, days, rows))
    return pd.DataFrame(
        {
            "t_dat": np.datetime64("2020-01-01") + day,
            "customer": (1 + rng.integers(0, N_CUSTOMERS - 1, rows) ** 2 // N_CUSTOMERS).astype(np.int32),
            "article": (1 + rng.random(rows) ** 3 * (N_ARTICLES - 1)).astype(np.int32),
            "price": rng.lognormal(-4, 0.5, rows).astype(np.float32),
            "sales_channel_id": np.ones(rows, dtype=np.int8),
        }
    )


def make_log(transactions: pd.DataFrame) -> PurchaseLog:
    return PurchaseLog.from_transactions(transactions, N_CUSTOMERS, N_ARTICLES)


def make_articles() -> pd.DataFrame:
    row = np.arange(N_ARTICLES)
    columns: dict[str, list[str]] = {
        name: [f"{name} {i % 4}" for i in row]
        if kind in (raw_columns.Kind.TEXT, raw_columns.Kind.CATEGORY)
        else [str(i % 6) for i in row]
        for name, kind in raw_columns.ARTICLE_COLUMNS.items()
    }
    return pd.DataFrame(columns | {"article_id": [f"0{1000 + i:09d}" for i in row]})


@pytest.fixture(scope="module")
def transactions() -> pd.DataFrame:
    return make_transactions()


@pytest.fixture(scope="module")
def log(transactions) -> PurchaseLog:
    return make_log(transactions)


@pytest.fixture
def one_purchase() -> PurchaseLog:
    return make_log(make_transactions(days=1, rows=1))


def test_daily_sales_has_every_day(transactions):
    gap = transactions[transactions.t_dat != transactions.t_dat.iloc[700]]
    daily = eda.daily_sales(make_log(gap))
    assert daily.sum() == len(gap)
    assert daily[transactions.t_dat.iloc[700]] == 0
    assert (daily.index[0], daily.index[-1]) == (gap.t_dat.min(), gap.t_dat.max())


def test_cumulative_share(log, transactions):
    share = eda.cumulative_share(log)
    counts = transactions.article.value_counts()
    assert len(share) == len(counts)
    assert share.iloc[-1] == pytest.approx(1)
    assert share[3] == pytest.approx(counts.head(3).sum() / len(transactions))


def test_basket_sizes(log, transactions):
    expected = transactions.groupby(["customer", "t_dat"]).size()
    assert eda.basket_sizes(log).tolist() == expected.tolist()


def test_basket_coherence(log, transactions):
    """Compared with a count of all pairs; the department is the article's row modulo 6."""
    articles = make_articles()
    shares = eda.basket_coherence(log, articles)
    pairs = transactions.merge(transactions, on=["customer", "t_dat"])
    pairs = pairs[pairs.article_x != pairs.article_y]
    # A row draws its partner from its own basket, so the weight of a pair is one over the basket's size.
    weight = 1 / transactions.groupby(["customer", "t_dat"]).size()
    weights = weight.loc[pd.MultiIndex.from_frame(pairs[["customer", "t_dat"]])].to_numpy()
    same = (pairs.article_x % 6 == pairs.article_y % 6).to_numpy()
    assert shares.loc["the department", "one basket"] == pytest.approx(np.average(same, weights=weights), abs=0.01)
    any_two = np.subtract.outer(transactions.article.to_numpy(), transactions.article.to_numpy())
    expected = (any_two[any_two != 0] % 6 == 0).mean()
    assert shares.loc["the department", "any two purchases"] == pytest.approx(expected, abs=0.01)


def test_a_log_without_pairs_has_no_coherence(one_purchase):
    assert eda.basket_coherence(one_purchase, make_articles()).isna().all(axis=None)


@pytest.mark.parametrize("products", [None, np.arange(N_ARTICLES) // 3])
def test_repurchases(log, transactions, products):
    things = transactions.article if products is None else pd.Series(products[transactions.article])
    visits = transactions.assign(thing=things)[["customer", "thing", "t_dat"]].drop_duplicates().sort_values("t_dat")
    gap = visits.groupby(["customer", "thing"]).t_dat.diff().dropna().dt.days
    found = eda.repurchases(log, products)
    assert sorted(found.gaps) == sorted(gap)
    assert found.share == pytest.approx(len(gap) / len(visits))
    assert found.gaps.min() > 0


def test_purchases_per_customer(log, transactions):
    assert sorted(eda.purchases_per_customer(log)) == sorted(transactions.customer.value_counts())


def test_catalogue_and_prices(log, transactions):
    articles = make_articles()
    shares = eda.catalogue_shares(log, articles, "index_group_name")
    assert shares.sum().tolist() == pytest.approx([1, 1])
    assert shares.purchases.is_monotonic_decreasing
    group = articles.index_group_name[transactions.article].to_numpy()
    assert shares.purchases.to_dict() == pytest.approx(pd.Series(group).value_counts(normalize=True).to_dict())
    in_catalogue = articles.index_group_name.value_counts(normalize=True)
    assert shares.articles.to_dict() == pytest.approx(in_catalogue.to_dict())
    ranges = eda.price_quantiles(log, articles, "index_group_name")
    median = transactions.price.groupby(group).median()
    assert ranges["median"].to_dict() == pytest.approx(median.to_dict())
    assert ranges["median"].is_monotonic_increasing


@pytest.mark.parametrize(("days", "margin"), [(200, 28), (20, 0)])
def test_launches_and_ages(days, margin):
    transactions = make_transactions(days=days)
    first = transactions.groupby("article").t_dat.transform("min")
    seen = first >= transactions.t_dat.min() + pd.Timedelta(days=margin)
    log = make_log(transactions)
    assert len(eda.launches(log)) == transactions.article[seen].nunique()
    share = eda.sales_by_age(log)
    if seen.any():
        age = (transactions.t_dat - first).dt.days[seen]
        assert share.sum() == pytest.approx(1)
        assert share[0] == pytest.approx((age == 0).mean())
        assert eda.median_day(share) == int(age.quantile(0.5, interpolation="lower"))


def test_attribute_shares():
    customers = pd.DataFrame(
        {"FN": [1.0, np.nan, np.nan, np.nan], "Active": np.nan, "club_member_status": "ACTIVE"}
        | {"fashion_news_frequency": ["NONE", "NONE", None, "Regularly"]}
    )
    shares = eda.attribute_shares(customers).set_index(["attribute", "value"]).share
    assert shares["FN"].to_dict() == {"empty": 0.75, "1": 0.25}
    assert shares["Active"].to_dict() == {"empty": 1.0}
    assert shares["fashion_news_frequency"].to_dict() == {"NONE": 0.5, "empty": 0.25, "Regularly": 0.25}


@pytest.mark.parametrize(("days", "rows"), [(200, 1_500), (5, 300), (1, 1)], ids=["months", "days", "one purchase"])
def test_every_figure_of_the_data(days, rows):
    log, articles = make_log(make_transactions(days=days, rows=rows)), make_articles()
    age = pd.Series(np.where(np.arange(N_CUSTOMERS) % 5, 20.0 + np.arange(N_CUSTOMERS) % 50, np.nan))
    figures = [
        eda_figures.missing(pd.Series({"customers.FN": 0.65, "articles.detail_desc": 0.004})),
        eda_figures.missing(pd.Series(dtype=float)),
        trends.sales_over_time(eda.daily_sales(log)),
        eda_figures.popularity(eda.cumulative_share(log)),
        eda_figures.basket_sizes(eda.basket_sizes(log)),
        eda_figures.basket_coherence(eda.basket_coherence(log, articles)),
        eda_figures.repurchase_gaps(eda.repurchases(log).gaps),
        eda_figures.purchases_per_customer(eda.purchases_per_customer(log)),
        eda_figures.ages(age, np.diff(log.offsets)),
        eda_figures.ages(age * np.nan, np.diff(log.offsets)),
        eda_figures.catalogue(eda.catalogue_shares(log, articles, "colour_group_name"), "colour"),
        eda_figures.prices(log.price),
        eda_figures.prices(log.price * 0),
        eda_figures.price_ranges(eda.price_quantiles(log, articles, "product_group_name"), "product group"),
        trends.sales_by_age(eda.sales_by_age(log)),
    ]
    for figure in figures:
        check_figure(figure)


def test_figures_of_training_and_evaluation():
    history = pd.DataFrame({"epoch": [1, 2, 3], "train_loss": [5.0, 4.0, 3.5], "MAP@12": [0.01, 0.03, 0.02]})
    curves = training_figures.learning_curves(history, best_epoch=2)
    check_figure(curves)
    assert [axes.get_title(loc="left") for axes in curves.axes] == ["train loss: 4", "MAP@12: 0.03"]
    check_figure(training_figures.learning_curves(history.head(1), best_epoch=1))
    columns = pd.MultiIndex.from_product([["MAP@12", "recall@12", "recall@100"], ["mean", "low", "high"]])
    table = pd.DataFrame([[0.03, 0.02, 0.04] * 3, [0.01, 0.005, 0.02] * 3], ["two-tower", "popularity"], columns)
    check_figure(evaluation_figures.comparison(table))
    gains = pd.concat([table - 0.02, table * np.nan])
    gains[("customers", "n")] = [900, 80, 0, 0]
    gains.index = pd.Index(["everyone", "dormant", "nobody", "nobody either"])
    figure = evaluation_figures.gain_by_slice(gains, "two-tower − popularity")
    check_figure(figure)
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["everyone (900)", "dormant (80)"]
    assert "two-tower − popularity" in figure.get_supxlabel()
    leaves = pd.DataFrame({"leaves": [1, 4, 16], "recall": [0.6, 0.9, 0.995], "microseconds": [5.0, 9.0, 20.0]})
    check_figure(evaluation_figures.recall_against_leaves(leaves, chosen=16))


def test_show_describes_the_figure(monkeypatch):
    shown: list = []
    monkeypatch.setattr(style, "display", shown.append)
    style.show(eda_figures.prices(np.array([0.01, 0.02], dtype=np.float32)), "Half cost **less** than `0.02`.")
    image, text = shown
    assert image.alt == "Figure: Prices paid. Half cost less than 0.02."
    assert text.data == "**Takeaway.** Half cost **less** than `0.02`."


def test_show_says_so_where_there_is_nothing(monkeypatch):
    shown: list = []
    monkeypatch.setattr(style, "display", shown.append)
    style.show(eda_figures.repurchase_gaps(np.array([], dtype=np.int64)), "None is bought again.")
    (text,) = shown
    assert text.data.endswith("nothing to show: no article was bought again on a later day.")


def cells(kind: str) -> list[dict]:
    return [cell for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == kind]


@pytest.mark.parametrize(("days", "empty"), [(200, False), (5, True)], ids=["months", "five days, no attributes"])
def test_notebook_runs(tmp_path, monkeypatch, days, empty):
    """Its cells in order, in this process and in another working directory; every takeaway is complete."""
    articles, transactions = make_articles(), make_transactions(days)
    ids = np.array([f"{i:064x}" for i in range(N_CUSTOMERS)])
    customers = pd.DataFrame({"customer_id": ids, "FN": "1.0", "Active": "", "club_member_status": "ACTIVE"})
    customers = customers.assign(fashion_news_frequency="NONE", age="33.0", postal_code=ids)
    if empty:
        customers[customers.columns[1:]] = ""
    customer, article = transactions.pop("customer"), transactions.pop("article")
    transactions = transactions.assign(customer_id=ids[customer], article_id=articles.article_id.to_numpy()[article])
    for name, frame in {"articles": articles, "customers": customers, "transactions_train": transactions}.items():
        frame.to_csv(tmp_path / f"{name}.csv", index=False)
    assert read_raw(tmp_path).report == []
    monkeypatch.chdir(tmp_path)
    shown: list = []
    monkeypatch.setattr(style, "display", shown.append)
    scope: dict = {}
    for cell in cells("code"):
        exec("".join(cell["source"]), scope)
        if "data_dir" in scope and "tables" not in scope:
            scope["data_dir"] = os.fspath(tmp_path)
    takeaways = [text.data for text in shown if hasattr(text, "data") and isinstance(text.data, str)]
    assert len(takeaways) >= 13
    assert not [text for text in takeaways if "nan" in text or "{" in text]
