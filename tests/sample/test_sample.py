"""The sample has the figures of the real data within tolerances, and its truth is the truth of its purchases."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from benchmarks.realism.__main__ import TOLERANCE, WEEKS
from benchmarks.realism.margins import MARGINS, TRANSACTION_FIELDS, margins
from benchmarks.realism.outcomes import REAL, outcomes
from hm_utils.arrays import Int32
from hm_utils.data import raw_columns
from hm_utils.data.origin import Origin
from hm_utils.data.purchases import Baskets, PurchaseLog
from hm_utils.data.raw import fingerprint, read_raw
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
from hm_utils.sample.catalogue import EXAMPLE_ARTICLES
from hm_utils.sample.constants import SMALL
from hm_utils.sample.customers import EXAMPLE_CUSTOMER
from hm_utils.sample.words import KIND_OF

WEEK = 7


@pytest.fixture(scope="module")
def sample() -> Sample:
    return generate("sample")


@pytest.fixture(scope="module")
def log(sample: Sample) -> PurchaseLog:
    return sample.log()


@pytest.fixture(scope="module")
def figures(sample: Sample) -> dict[str, float]:
    return margins(sample)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sample(tmp_path_factory.mktemp("samples") / "tiny", "tiny", seed=5)


@pytest.mark.parametrize("figure", MARGINS)
def test_margins(figure: str, figures: dict[str, float]) -> None:
    real, lowest, highest = MARGINS[figure]
    assert lowest <= figures[figure] <= highest, f"{figure}: {figures[figure]:.4g}, in the real data {real:.4g}"


# ---- what methods score -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def scores(sample: Sample) -> dict[str, float]:
    return outcomes(sample, WEEKS["sample"])


@pytest.mark.parametrize("figure", [name for name, real in REAL.items() if real])
def test_scores(figure: str, scores: dict[str, float]) -> None:
    real = REAL[figure] or 0.0
    assert real / TOLERANCE["sample"] <= scores[figure] <= real * TOLERANCE["sample"], f"in the real data {real:.4g}"


def test_methods_rank_as_on_the_real_data(scores: dict[str, float]) -> None:
    order = [
        "best-sellers of all time: MAP@12",
        "best-sellers of a week: MAP@12",
        "repurchase, popular: MAP@12",
        "user-user kNN, popular: MAP@12",
        "strong ranker: MAP@12",
        "oracle: MAP@12",
    ]
    values = [scores[name] for name in order]
    assert values == sorted(values), dict(zip(order, values, strict=True))
    assert scores["co-purchase, popular: MAP@12"] < scores["repurchase, popular: MAP@12"]
    assert scores["oracle: MAP@12"] > 1.3 * scores["repurchase, popular: MAP@12"]


@pytest.mark.parametrize(
    ("change", "figures"),
    [
        ({"repurchase": 0.0}, ["repurchase, popular: MAP@12", "pairs bought before"]),
        ({"steepness": 1.5}, ["best-sellers of 28 days: recall@12", "best-sellers of 28 days: recall@50"]),
    ],
)
def test_other_constants_are_noticed(change: dict[str, float], figures: list[str]) -> None:
    other = replace(SMALL, **change)  # type: ignore[arg-type]
    found = outcomes(generate("sample", constants=other), weeks=3, slow=False)
    for figure in figures:
        real = REAL[figure] or 0.0
        assert not real / TOLERANCE["sample"] <= found[figure] <= real * TOLERANCE["sample"]


def test_names_tell_cards_apart_and_examples_exist(sample: Sample) -> None:
    for made in (sample, generate("tiny")):
        table = made.articles
        assert table.groupby("prod_name")["product_code"].nunique().max() == 1
        assert not table.duplicated(["prod_name", "colour_group_name"]).any()
        assert set(EXAMPLE_ARTICLES) <= set(table["article_id"])
        example = np.flatnonzero(made.customers["customer_id"] == EXAMPLE_CUSTOMER)
        assert len(example) == 1
        assert (made.customer == example[0]).sum() >= 5


def test_descriptions_fit_the_garment(sample: Sample) -> None:
    text = sample.articles.set_index("product_type_name")["detail_desc"].dropna().str.split(" in ").str[1]
    for words, allowed in {
        "sleeves": {"top", "sweater"},
        "sole": {"shoe"},
        " toe": {"shoe", "hosiery"},
        "legs": {"legs", "suit"},
    }.items():
        types = set(text[text.str.contains(words)].index)
        assert types
        assert {KIND_OF.get(name, "soft") for name in types} <= allowed, f"{words}: {types}"


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


def test_its_tables_are_known_as_synthetic(tiny: Path) -> None:
    assert read_raw(tiny).origin == Origin(True, "tiny")


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
    (tmp_path / "one" / "transactions_train.csv").unlink()
    with pytest.raises(NoTruthError, match=r"has none of transactions_train\.csv"):
        truth_of(tmp_path / "one", own)
    shutil.copytree(tiny, tmp_path / "old")
    (tmp_path / "old" / "truth" / "loyalty.npy").unlink()
    with pytest.raises(NoTruthError, match="make the sample again"):
        truth_of(tmp_path / "old", own)
    with pytest.raises(NoTruthError, match="no ground truth in"):
        truth_of(tmp_path, own)


# ----------------------------------------------------------------------------------------------------------- truth


@pytest.fixture(scope="module")
def visits() -> tuple[Truth, PurchaseLog, list[tuple[int, npt.NDArray, npt.NDArray]]]:
    """From a small catalogue with many customers: day, customers and one piece of each basket, for the last 40 days."""
    size = SampleSize(customers=20_000, articles=400, days=200)
    small = generate(size, seed=3, constants=replace(SMALL, wander=0.6, recall_half=0.5))
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
    assert np.abs(observed - without)[1] > 4 * np.sqrt(without[1])


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
    assert alike[same_word].mean() > 0.02
    assert abs(alike.mean()) < 0.01
