"""The sample has the figures of the real data within tolerances, and its truth is the truth of its purchases."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from hm_utils.arrays import Int32
from hm_utils.data import raw_columns
from hm_utils.data.purchases import Baskets, PurchaseLog
from hm_utils.data.raw import fingerprint
from hm_utils.evaluation.metrics import average_precision, hit_matrix
from hm_utils.sample import (
    SIZES,
    NoTruthError,
    Sample,
    SampleSize,
    Truth,
    generate,
    oracle_ranking,
    truth_of,
    write_sample,
)
from hm_utils.sample.__main__ import main
from hm_utils.sample.seasons import MONTHS

WEEK, RECENT = 7, 28
TRANSACTION_FIELDS = ("customer", "day", "article", "price", "channel")

# Figure -> (value in the real data, lowest, highest value that passes). A tolerance is a few standard errors of the
# sample plus an allowed error of the model. The real figures of baskets, groups and prices are those of the last week.
# A week of the sample has a fiftieth of its baskets, so they are measured on the last four weeks ("recent").
CALIBRATION: dict[str, tuple[float, float, float]] = {
    # customers
    "age empty": (0.012, 0.009, 0.015),
    "age mean": (36.4, 35.4, 37.4),
    "age 10 %": (21, 20, 22),
    "age 25 %": (25, 24, 26),
    "age 50 %": (32.5, 31, 34),
    "age 75 %": (48, 47, 50),
    "age 90 %": (57, 55, 59),
    "FN set": (0.351, 0.336, 0.366),
    "Active set": (0.344, 0.329, 0.359),
    "club ACTIVE": (0.927, 0.917, 0.937),
    "club empty": (0.005, 0.002, 0.008),
    "news Regularly": (0.352, 0.337, 0.367),
    "news empty": (0.011, 0.008, 0.014),
    "never buy": (0.007, 0.005, 0.011),
    # visits and transactions per customer, over the whole log
    "transactions mean": (23.2, 21, 26),
    "transactions sd": (39.5, 33, 47),
    "transactions 10 %": (1, 1, 2),
    "transactions 25 %": (3, 2, 4),
    "transactions 50 %": (9, 7, 11),
    "transactions 75 %": (26, 23, 30),
    "transactions 90 %": (60, 53, 68),
    "transactions 99 %": (204, 170, 235),
    "visits mean": (6.5, 6.0, 7.1),
    "visits 50 %": (3, 3, 3),
    "visits 75 %": (8, 7, 9),
    "one week only": (0.341, 0.29, 0.38),
    "gap 10 %": (2, 2, 4),
    "gap 25 %": (7, 5, 10),
    "gap 50 %": (23, 18, 28),
    "gap 75 %": (57, 48, 68),
    "gap 90 %": (119, 102, 142),
    "gap mean": (48.8, 42, 56),
    # baskets in the last week
    "week buyers share": (0.0503, 0.046, 0.058),
    "week rows a customer": (3.48, 3.1, 3.9),
    "basket rows": (3.12, 2.85, 3.4),
    "basket of 1": (0.332, 0.29, 0.38),
    "basket of 2": (0.247, 0.21, 0.28),
    "basket of 3": (0.142, 0.11, 0.17),
    "basket of 4": (0.090, 0.065, 0.12),
    "quantity above one": (0.092, 0.075, 0.115),
    "online": (0.69, 0.64, 0.74),
    "never bought before": (0.081, 0.055, 0.11),
    "never sold before": (0.037, 0.02, 0.09),
    # attributes shared by two articles of a basket
    "share product_code": (0.041, 0.030, 0.052),
    "share product_type_no": (0.208, 0.175, 0.24),
    "share department_name": (0.179, 0.145, 0.21),
    "share section_no": (0.295, 0.26, 0.33),
    "share garment_group_no": (0.282, 0.24, 0.32),
    "share product_group_name": (0.450, 0.39, 0.49),
    "share index_group_no": (0.642, 0.60, 0.68),
    "share colour_group_code": (0.213, 0.165, 0.25),
    # repurchases
    "repurchase article": (0.046, 0.038, 0.056),
    "repurchase product": (0.081, 0.065, 0.108),
    "repurchase gap 25 %": (3, 2, 7),
    "repurchase gap 50 %": (8, 6, 24),
    "repurchase gap 75 %": (49, 30, 80),
    # popularity, at the same share of the catalogue as in the real data, so that 5,000 articles are comparable
    "gini": (0.759, 0.69, 0.80),
    "top 0.096 % of the articles": (0.046, 0.02, 0.06),
    "top 0.96 % of the articles": (0.182, 0.14, 0.22),
    "top 9.6 % of the articles": (0.596, 0.54, 0.65),
    "median / mean sales": (0.214, 0.15, 0.34),
    "articles never sold": (0.0094, 0.0, 0.08),  # an article has a third of its sales in the real data
    "week articles sold": (0.170, 0.10, 0.22),
    "week top 0.56 %": (0.134, 0.08, 0.17),
    "week top 5.6 %": (0.502, 0.38, 0.55),
    "week top 28 %": (0.856, 0.76, 0.90),
    # days, groups and prices
    "busiest day": (4.59, 3.5, 5.5),
    "month correlation": (1.0, 0.93, 1.0),
    "recent Ladieswear": (0.626, 0.57, 0.68),
    "recent Divided": (0.243, 0.20, 0.29),
    "recent Menswear": (0.057, 0.025, 0.085),
    "recent Sport": (0.055, 0.03, 0.085),
    "recent Baby/Children": (0.020, 0.010, 0.035),
    "recent Upper body": (0.480, 0.41, 0.55),
    "recent Lower body": (0.227, 0.16, 0.29),
    "price 10 %": (0.0135, 0.0115, 0.0155),
    "price 25 %": (0.0186, 0.016, 0.0225),
    "price 50 %": (0.0339, 0.025, 0.0365),
    "price 75 %": (0.0424, 0.038, 0.050),
    "price 90 %": (0.0593, 0.053, 0.075),
    "log price mean": (0.0278, 0.025, 0.034),
    "articles a product": (2.23, 2.0, 2.5),
    "detail_desc empty": (0.004, 0.001, 0.009),
}


def measure(sample: Sample) -> dict[str, float]:
    """Every figure of the table."""
    log = pd.DataFrame({name: getattr(sample, name) for name in TRANSACTION_FIELDS}).astype({"day": int})
    week = log[log["day"] >= sample.truth.days - WEEK]
    recent = log[log["day"] >= sample.truth.days - RECENT]
    return {
        **_customers(sample),
        **_visits(log, sample),
        **_baskets(log, week, recent, sample),
        **_coherence(recent, sample),
        **_repurchases(log, sample),
        **_popularity(log, week, sample),
        **_groups_and_prices(log, recent, sample),
    }


def _quantiles(name: str, values: npt.ArrayLike, per_cent: tuple[int, ...]) -> dict[str, float]:
    return {f"{name} {q} %": float(np.nanpercentile(np.asarray(values, dtype=float), q)) for q in per_cent}


def _customers(sample: Sample) -> dict[str, float]:
    table = sample.customers
    return {
        "age empty": table["age"].isna().mean(),
        "age mean": table["age"].mean(),
        **_quantiles("age", table["age"], (10, 25, 50, 75, 90)),
        "FN set": table["FN"].eq(1.0).mean(),
        "Active set": table["Active"].eq(1.0).mean(),
        "club ACTIVE": table["club_member_status"].eq("ACTIVE").mean(),
        "club empty": table["club_member_status"].isna().mean(),
        "news Regularly": table["fashion_news_frequency"].eq("Regularly").mean(),
        "news empty": table["fashion_news_frequency"].isna().mean(),
    }


def _visits(log: pd.DataFrame, sample: Sample) -> dict[str, float]:
    rows = log["customer"].value_counts()
    visits = log[["customer", "day"]].drop_duplicates()
    gaps = visits.groupby("customer")["day"].diff().dropna()
    weeks = (visits["day"] + 7 * 105 - sample.truth.days) // 7
    return {
        "never buy": 1 - len(rows) / len(sample.customers),
        "transactions mean": rows.mean(),
        "transactions sd": rows.std(),
        **_quantiles("transactions", rows, (10, 25, 50, 75, 90, 99)),
        "visits mean": len(visits) / len(rows),
        **_quantiles("visits", visits["customer"].value_counts(), (50, 75)),
        "one week only": weeks.groupby(visits["customer"]).nunique().eq(1).mean(),
        "gap mean": gaps.mean(),
        **_quantiles("gap", gaps, (10, 25, 50, 75, 90)),
    }


def _baskets(log: pd.DataFrame, week: pd.DataFrame, recent: pd.DataFrame, sample: Sample) -> dict[str, float]:
    sizes = recent.groupby(["customer", "day"]).size()
    lines = recent.groupby(["customer", "day", "channel", "article"]).size()
    buyers = week["customer"].unique()
    earlier = log[log["day"] < sample.truth.days - WEEK]
    sold = week["article"].unique()
    return {
        "week buyers share": len(buyers) / len(sample.customers),
        "week rows a customer": len(week) / len(buyers),
        "basket rows": sizes.mean(),
        **{f"basket of {n}": sizes.eq(n).mean() for n in (1, 2, 3, 4)},
        "quantity above one": lines.gt(1).mean(),
        "online": recent["channel"].eq(2).mean(),
        "never bought before": (~np.isin(buyers, earlier["customer"].unique())).mean(),
        "never sold before": (~np.isin(sold, earlier["article"].unique())).mean(),
    }


def _coherence(recent: pd.DataFrame, sample: Sample) -> dict[str, float]:
    """Share of the pairs of different articles in a basket that have the same value."""
    lines = recent.drop_duplicates(["customer", "day", "article"])
    basket = lines.groupby(["customer", "day"]).ngroup()
    size = basket.value_counts()
    pairs = (size * (size - 1) / 2).sum()
    shares = {}
    for name in CALIBRATION:
        if name.startswith("share "):
            value = sample.articles[name.removeprefix("share ")].to_numpy()[lines["article"]]
            same = pd.DataFrame({"basket": basket, "value": value}).value_counts()
            shares[name] = (same * (same - 1) / 2).sum() / pairs
    return shares


def _repurchases(log: pd.DataFrame, sample: Sample) -> dict[str, float]:
    lines = log.drop_duplicates(["customer", "day", "article"])
    product = sample.articles["product_code"].to_numpy()[lines["article"]]
    earlier = lines["day"] > lines.groupby(["customer", "article"])["day"].transform("min")
    first_of_product = lines.groupby(["customer", product])["day"].transform("min")
    ends = lines.groupby(["customer", "article"])["day"].agg(["min", "max"])
    span = ends["max"] - ends["min"]
    return {
        "repurchase article": earlier.mean(),
        "repurchase product": (lines["day"] > first_of_product).mean(),
        **_quantiles("repurchase gap", span[span > 0], (25, 50, 75)),
    }


def _popularity(log: pd.DataFrame, week: pd.DataFrame, sample: Sample) -> dict[str, float]:
    sales = np.sort(np.bincount(log["article"], minlength=len(sample.articles)))[::-1]
    n = (sales > 0).sum()
    on_sale = sample.truth.on_sale(sample.truth.days - 1)
    in_week = np.sort(np.bincount(week["article"], minlength=len(on_sale))[on_sale])[::-1]
    rank = np.arange(1, n + 1)

    def top(counts: npt.NDArray, share: float) -> float:
        """Share of sales of the top ``share`` of the articles, interpolated between whole articles."""
        upto = np.append(0, counts.cumsum()) / counts.sum()
        return float(np.interp(share * len(counts), np.arange(len(upto)), upto))

    return {
        "gini": 1 - 2 * float((sales[:n] * (rank - 0.5)).sum() / (n * sales.sum())),
        "top 0.096 % of the articles": top(sales[:n], 100 / 104_547),
        "top 0.96 % of the articles": top(sales[:n], 1_000 / 104_547),
        "top 9.6 % of the articles": top(sales[:n], 10_000 / 104_547),
        "median / mean sales": float(np.median(sales[:n]) / sales[:n].mean()),
        "articles never sold": 1 - n / len(sales),
        "week articles sold": (in_week > 0).sum() / len(sales),
        "week top 0.56 %": top(in_week, 100 / 17_986),
        "week top 5.6 %": top(in_week, 1_000 / 17_986),
        "week top 28 %": top(in_week, 5_000 / 17_986),
    }


def _groups_and_prices(log: pd.DataFrame, recent: pd.DataFrame, sample: Sample) -> dict[str, float]:
    per_day = np.bincount(log["day"], minlength=sample.truth.days)
    month = (sample.truth.first_date + log["day"].to_numpy()).astype("datetime64[M]").astype(int)
    months = np.bincount(month - month.min())
    bought = sample.articles.iloc[recent["article"]]
    groups = bought["index_group_name"].value_counts(normalize=True)
    product_groups = bought["product_group_name"].value_counts(normalize=True)
    return {
        "busiest day": per_day.max() / per_day.mean(),
        "month correlation": float(np.corrcoef(months, MONTHS)[0, 1]) if len(months) == len(MONTHS) else np.nan,
        **{f"recent {name}": groups.get(name, 0.0) for name in groups.index},
        "recent Upper body": product_groups["Garment Upper body"],
        "recent Lower body": product_groups["Garment Lower body"],
        **_quantiles("price", recent["price"], (10, 25, 50, 75, 90)),
        "log price mean": log["price"].mean(),
        "articles a product": len(sample.articles) / sample.articles["product_code"].nunique(),
        "detail_desc empty": sample.articles["detail_desc"].isna().mean(),
    }


@pytest.fixture(scope="module")
def sample() -> Sample:
    return generate("sample")


@pytest.fixture(scope="module")
def log(sample: Sample) -> PurchaseLog:
    return sample.log()


@pytest.fixture(scope="module")
def figures(sample: Sample) -> dict[str, float]:
    return measure(sample)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sample(tmp_path_factory.mktemp("samples") / "tiny", "tiny", seed=5)


@pytest.mark.parametrize("figure", CALIBRATION)
def test_calibration(figure: str, figures: dict[str, float]) -> None:
    real, lowest, highest = CALIBRATION[figure]
    assert lowest <= figures[figure] <= highest, f"{figure}: {figures[figure]:.4g}, in the real data {real:.4g}"


def test_last_week_has_a_thousand_buyers(log: PurchaseLog, sample: Sample) -> None:
    assert len(log.baskets_between(sample.truth.days - WEEK, sample.truth.days)) >= 1_000


def test_tiny_has_a_test_week() -> None:
    tiny = generate("tiny", seed=3)
    assert 10_000 < len(tiny.article) < 25_000
    assert len(tiny.log().baskets_between(tiny.truth.days - WEEK, tiny.truth.days)) >= 100


def test_same_seed_same_sample() -> None:
    one, two, other = (generate("tiny", seed) for seed in (1, 1, 2))
    pd.testing.assert_frame_equal(one.articles, two.articles)
    pd.testing.assert_frame_equal(one.customers, two.customers)
    for field in TRANSACTION_FIELDS:
        np.testing.assert_array_equal(getattr(one, field), getattr(two, field))
    assert not np.array_equal(one.article, other.article)


# ----------------------------------------------------------------------------------------------------------- files


def test_files_are_in_the_format_of_the_competition(tiny: Path) -> None:
    names = ("articles", "customers", "transactions_train")
    articles, customers, rows = (pd.read_csv(tiny / f"{n}.csv", dtype=str, keep_default_na=False) for n in names)
    assert list(articles) == list(raw_columns.ARTICLE_COLUMNS)
    assert list(customers) == list(raw_columns.CUSTOMER_COLUMNS)
    assert list(rows) == list(raw_columns.TRANSACTION_COLUMNS)
    assert len(articles) == SIZES["tiny"].articles
    assert len(customers) == SIZES["tiny"].customers
    assert articles["article_id"].str.fullmatch(r"0\d{9}").all()
    assert articles["article_id"].is_monotonic_increasing
    assert articles["article_id"].is_unique
    assert (articles["product_code"] == articles["article_id"].str[1:7]).all()
    assert articles["prod_name"].str.len().between(3, 30).all()
    assert customers["customer_id"].str.fullmatch(r"[0-9a-f]{64}").all()
    assert customers["customer_id"].is_monotonic_increasing
    assert customers["customer_id"].is_unique
    assert customers["postal_code"].str.fullmatch(r"[0-9a-f]{64}").all()
    assert set(customers["FN"]) == {"", "1.0"} == set(customers["Active"])
    assert customers["age"].str.fullmatch(r"(\d\d\.0)?").all()
    assert rows["t_dat"].is_monotonic_increasing
    assert rows["t_dat"].iloc[-1] == "2020-09-22"
    assert rows["article_id"].isin(articles["article_id"]).all()
    assert rows["customer_id"].isin(customers["customer_id"]).all()
    assert rows["price"].astype(float).between(0.00001, 0.6).all()
    assert set(rows["sales_channel_id"]) == {"1", "2"}


def test_a_code_has_one_name_and_a_product_one_department(sample: Sample) -> None:
    table = sample.articles
    for code, name in (
        ("product_type_no", "product_type_name"),
        ("graphical_appearance_no", "graphical_appearance_name"),
        ("colour_group_code", "colour_group_name"),
        ("perceived_colour_value_id", "perceived_colour_value_name"),
        ("perceived_colour_master_id", "perceived_colour_master_name"),
        ("department_no", "department_name"),
        ("index_code", "index_name"),
        ("index_group_no", "index_group_name"),
        ("section_no", "section_name"),
        ("garment_group_no", "garment_group_name"),
        ("product_code", "department_no"),
        ("product_code", "prod_name"),
        ("department_no", "section_no"),
    ):
        assert table.groupby(code)[name].nunique(dropna=False).max() == 1, f"{code} has several {name}"
    assert table.drop(columns="detail_desc").notna().all().all()


def test_written_and_read_back(tiny: Path) -> None:
    made, facts = generate("tiny", seed=5), json.loads((tiny / "sample.json").read_text())
    rows = pd.read_csv(tiny / "transactions_train.csv", dtype={"article_id": str}, parse_dates=["t_dat"])
    order = np.argsort(made.day, kind="stable")
    assert facts["transactions"] == len(rows) == len(order)
    truth, customers = Truth.load(tiny), np.arange(50)
    np.testing.assert_array_equal(rows["article_id"], made.articles["article_id"].to_numpy()[made.article[order]])
    np.testing.assert_array_equal(rows["customer_id"], made.customers["customer_id"].to_numpy()[made.customer[order]])
    assert (rows["t_dat"].to_numpy().astype("M8[D]") == truth.first_date + made.day[order].astype(int)).all()
    np.testing.assert_array_equal(rows["price"].astype(np.float32), made.price[order])
    mine, loaded = (t.probabilities(customers, 150, made.log()) for t in (made.truth, truth))
    np.testing.assert_array_equal(mine, loaded)


def test_an_interrupted_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(Truth, "save", fail)
    with pytest.raises(OSError, match="disk full"):
        write_sample(tmp_path / "sample", "tiny")
    assert list(tmp_path.iterdir()) == []


def test_only_a_sample_is_replaced(tmp_path: Path) -> None:
    size = SampleSize(customers=100, articles=100, days=60)
    write_sample(tmp_path / "sample", size, seed=1)
    write_sample(tmp_path / "sample", size, seed=2)
    assert json.loads((tmp_path / "sample" / "sample.json").read_text())["seed"] == 2
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "articles.csv").write_text("precious")
    with pytest.raises(FileExistsError, match="not a sample"):
        write_sample(mine, size)
    assert (mine / "articles.csv").read_text() == "precious"


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "small"
    assert main(["--out", str(out), "--size", "tiny", "--customers", "100", "--days", "60", "--quiet"]) == 0
    assert "100 customers, 300 articles, 60 days" in capsys.readouterr().out
    assert json.loads((out / "sample.json").read_text())["customers"] == 100
    assert main(["--out", str(tmp_path / "no"), "--customers", "3", "--quiet"]) == 2
    assert "at least 50 customers" in capsys.readouterr().err
    with pytest.raises(ValueError, match="unknown sample size 'huge'"):
        generate("huge")


def test_a_truth_belongs_to_the_tables_of_its_folder(tmp_path: Path, tiny: Path) -> None:
    own = fingerprint(tiny)
    assert truth_of(tiny, own).days == SIZES["tiny"].days
    with pytest.raises(NoTruthError, match="are not those that were preprocessed"):
        truth_of(tiny, "of other tables")
    shutil.copytree(tiny, tmp_path / "one")
    (tmp_path / "one" / "articles.csv").unlink()
    with pytest.raises(NoTruthError, match=r"has none of articles\.csv"):
        truth_of(tmp_path / "one", own)
    with pytest.raises(NoTruthError, match="no ground truth in"):
        truth_of(tmp_path, own)


# ----------------------------------------------------------------------------------------------------------- truth


@pytest.fixture(scope="module")
def visits() -> tuple[Truth, PurchaseLog, list[tuple[int, npt.NDArray, npt.NDArray]]]:
    """From a small catalogue with many customers: day, customers and one piece of each basket, for the last 40 days."""
    small = generate(SampleSize(customers=20_000, articles=400, days=200), seed=3)
    log, days = small.log(), []
    for day in range(160, 200):
        rows = log.rows_between(day, day + 1)
        # The first piece of a basket on odd days, the last on even days: the truth must hold for every piece.
        rows = rows if day % 2 else rows[::-1]
        customers, first = np.unique(log.customer[rows], return_index=True)
        days.append((day, customers, log.article[rows][first]))
    return small.truth, log, days


def _tally(truth: Truth, log: PurchaseLog | None, days: list, cell: object) -> tuple[npt.NDArray, npt.NDArray]:
    """Observed and expected purchases in each cell of ``cell(probabilities, day, customers) -> int[n, articles]``."""
    observed, expected = np.zeros(64), np.zeros(64)
    for day, customers, bought in days:
        chances = truth.probabilities(customers, day, log)
        cells = cell(chances, day, customers)  # type: ignore[operator]
        expected += np.bincount(cells.ravel(), chances.ravel(), minlength=64)
        observed += np.bincount(cells[np.arange(len(customers)), bought], minlength=64)
    return observed, expected


def test_probabilities_are_the_frequencies(visits: tuple) -> None:
    truth, log, days = visits
    edges = np.geomspace(1e-5, 1, 30)
    observed, expected = _tally(truth, log, days, lambda chances, *_: np.searchsorted(edges, chances))
    enough = expected > 20
    assert enough.sum() >= 12
    z = (observed - expected)[enough] / np.sqrt(expected[enough])
    assert np.abs(z).max() < 4, f"observed {observed[enough]}, expected {expected[enough]}"
    assert observed.sum() == pytest.approx(expected.sum(), rel=1e-4)  # rows sum to 1


def test_every_article_has_the_frequency_of_its_probability(visits: tuple) -> None:
    truth, log, days = visits
    expected = sum(truth.probabilities(customers, day, log).sum(axis=0) for day, customers, _ in days)
    observed = sum(np.bincount(bought, minlength=truth.n_articles) for *_, bought in days)
    enough = expected > 5
    z = (observed - expected)[enough] / np.sqrt(expected[enough])
    assert enough.sum() > 100
    assert (z**2).mean() < 1.4  # 1 on average if the probabilities are right


def test_probabilities_of_owned_and_remembered_articles(visits: tuple) -> None:
    truth, log, days = visits

    def age_class(_: npt.NDArray, day: int, customers: npt.NDArray) -> npt.NDArray:
        """0 never bought, 1 bought in the last week, 2 in the last month, 3 earlier."""
        result = np.zeros((len(customers), truth.n_articles), dtype=np.int64)
        ends = log.history_ends(customers, day)
        for row, (customer, end) in enumerate(zip(customers, ends, strict=True)):
            past = slice(log.offsets[customer], end)
            result[row, log.article[past]] = 3 - (log.day[past] >= day - 30) - (log.day[past] >= day - 7)
        return result

    observed, expected = _tally(truth, log, days, age_class)
    assert (np.abs(observed - expected)[:4] < 4 * np.sqrt(expected[:4])).all(), f"{observed[:4]}, {expected[:4]}"
    # Without histories the same expectations are wrong, which shows that the test is sensitive.
    _, without = _tally(truth, None, days, age_class)
    assert np.abs(observed - without)[1] > 6 * np.sqrt(without[1])


def test_truth_uses_only_the_past(log: PurchaseLog, sample: Sample) -> None:
    customers = np.arange(200)
    whole = sample.truth.probabilities(customers, 700, log)
    np.testing.assert_array_equal(whole, sample.truth.probabilities(customers, 700, log.before(700)))
    assert (whole != sample.truth.probabilities(customers, 700, log.before(690))).any()
    np.testing.assert_allclose(whole.sum(axis=1), 1, atol=1e-4)
    with pytest.raises(ValueError, match="day 734 is outside"):
        sample.truth.probabilities(customers, 734, log)


def test_only_what_is_on_sale_is_sold(sample: Sample) -> None:
    for day in (0, 300, 733):
        assert sample.truth.on_sale(day)[sample.article[sample.day == day]].all()


# ------------------------------------------------------------------------------------------- signals to learn from


def mean_average_precision(ranked: Int32, bought: Baskets) -> float:
    return average_precision(hit_matrix(ranked, bought), bought.sizes).mean()


def test_oracle_is_far_ahead_of_popularity(log: PurchaseLog, sample: Sample) -> None:
    as_of = sample.truth.days - WEEK
    bought = log.baskets_between(as_of, as_of + WEEK)
    popular = np.argsort(-log.sales_between(as_of - WEEK, as_of), kind="stable")[:12]
    popularity = mean_average_precision(np.tile(popular.astype(np.int32), (len(bought), 1)), bought)
    ranked = oracle_ranking(sample.truth, log, bought.customers, as_of, 12)
    assert ranked.shape == (len(bought), 12)
    assert all(len(set(row)) == 12 for row in ranked)
    assert mean_average_precision(ranked, bought) > 1.8 * popularity


def test_a_history_predicts_the_next_visit(log: PurchaseLog, sample: Sample) -> None:
    """Visits of the same customer share sections far more often than visits of two customers."""
    section = sample.articles["section_no"].to_numpy()[log.article]
    next_visit = np.flatnonzero((np.diff(log.customer) == 0) & (np.diff(log.day.astype(int)) > 30))
    own = (section[next_visit] == section[next_visit + 1]).mean()
    other = (section[next_visit] == section[np.roll(next_visit, 7) + 1]).mean()
    assert own > 1.5 * other


def test_age_predicts_the_index_group(log: PurchaseLog, sample: Sample) -> None:
    divided = sample.articles["index_group_name"].eq("Divided").to_numpy()[log.article]
    age = sample.customers["age"].to_numpy()[log.customer]
    assert divided[age < 25].mean() > 2 * divided[age > 45].mean()


def test_words_predict_which_segments_like_an_article(sample: Sample) -> None:
    """Products whose names begin with the same word are liked by the same segments, whatever their department."""
    products = sample.articles.drop_duplicates("product_code")
    liking = pd.DataFrame(sample.truth.liking[:, products.index].T).reset_index(drop=True)
    liking -= liking.groupby(products["department_no"].to_numpy()).transform("mean")
    unit = liking.div(np.linalg.norm(liking, axis=1) + 1e-9, axis=0).to_numpy()
    word = products["prod_name"].str.split().str[0].to_numpy()
    alike = unit @ unit.T
    same_word = word[:, None] == word
    np.fill_diagonal(same_word, False)
    assert alike[same_word].mean() > 0.03
    assert abs(alike.mean()) < 0.01
