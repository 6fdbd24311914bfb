"""The reports' sentences say what their figures show, on data with one answer and on data with the other."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from hm_utils.analysis import sentences
from hm_utils.arrays import Int32
from hm_utils.data.purchases import Baskets, PurchaseLog
from hm_utils.evaluation import upper_bounds
from hm_utils.evaluation.comparison import Evaluation, evaluate
from hm_utils.evaluation.decision import PUBLISHED, TWO_TOWER, decide, for_and_against, next_steps, sentence
from tests.helpers.data import random_log

AS_OF, N = 40, 120


def log_of(*purchases: tuple[int, int, int]) -> PurchaseLog:
    """A log of ``(day, customer, article)``."""
    day, customer, article = np.array(purchases).T
    dates = pd.Timestamp("2020-08-04") + pd.to_timedelta(day, unit="D")
    columns = {"customer": customer.astype(np.int32), "article": article.astype(np.int32)}
    frame = pd.DataFrame({"t_dat": dates, **columns, "price": np.float32(1), "sales_channel_id": np.int8(1)})
    return PurchaseLog.from_transactions(frame, int(customer.max()) + 1, int(article.max()) + 1)


def everybody_buys_the_same_new_article() -> PurchaseLog:
    """Every day all buy that day's article, and on the last days those of 26 and 27, which one customer bought."""
    days = [(day, customer, day) for day in range(26) for customer in range(10)]
    return log_of(*days, *((26, 0, article) for article in (26, 27)), *((33, customer, 26) for customer in range(10)))


def everybody_buys_their_own_article_again() -> PurchaseLog:
    return log_of(*((day, customer, customer) for day in range(34) for customer in range(120)))


@pytest.mark.parametrize("log", [everybody_buys_the_same_new_article(), everybody_buys_their_own_article_again()])
def test_the_better_simple_ranking_is_the_one_of_the_figure(log: PurchaseLog) -> None:
    reach = upper_bounds.reach(log, *upper_bounds.last_days(log))
    text = sentences.simple_rankings(reach)
    known = reach[~reach["perfect"].astype(bool)]
    for metric in ("MAP@12", "recall@100"):
        if known[metric].max() > known[metric].min():
            assert f"*{known[metric].idxmax()}* is better by" in text
    loser = known["MAP@12"].idxmin()
    assert f"*{loser}* is better by both" not in text
    left = 1 - reach["recall@100"].astype(float)[upper_bounds.BOTH]
    assert f"{left:.0%}" in sentences.beyond_simple_rankings(reach)


def reach(rows: dict[str, tuple[float, float]], both: float = 0.3) -> pd.DataFrame:
    known = {name: (*scores, False) for name, scores in rows.items()}
    perfect = dict.fromkeys((upper_bounds.PERFECT_POPULARITY, upper_bounds.PERFECT_REPURCHASE), (both, both, True))
    table = {**known, **perfect, upper_bounds.BOTH: (both, both, True)}
    return pd.DataFrame.from_dict(table, orient="index", columns=["MAP@12", "recall@100", "perfect"])


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ({"a": (0.2, 0.3), "b": (0.1, 0.2)}, "*a* is better by both metrics (MAP@12 0.2000 against 0.1000"),
        ({"a": (0.1, 0.2), "b": (0.2, 0.3)}, "*b* is better by both metrics (MAP@12 0.2000 against 0.1000"),
        ({"a": (0.2, 0.2), "b": (0.1, 0.3)}, "by MAP@12 (0.2000 against 0.1000), and *b* is better by recall@100"),
        ({"a": (0.2, 0.2), "b": (0.2, 0.2)}, "both rankings are equal"),
        ({"a": (0.2, 0.2), "b": (0.1, 0.2)}, "they are equal by recall@100"),
    ],
)  # fmt: skip
def test_simple_rankings(rows: dict[str, tuple[float, float]], words: str) -> None:
    assert words in sentences.simple_rankings(reach(rows))


@pytest.mark.parametrize(
    ("both", "words"),
    [(0.24, "most of what they buy is left"), (0.61, "less than half of what they buy"), (1.0, "none is")],
)
def test_what_is_left_to_a_model(both: float, words: str) -> None:
    assert words in sentences.beyond_simple_rankings(reach({"a": (0, 0)}, both))


def test_skew() -> None:
    even = pd.Series(np.linspace(0.001, 1, 1_000), index=range(1, 1_001))
    assert "hardly more than their number" in sentences.skew(even, 1_000)
    assert "0% of the catalogue" in sentences.skew(even, 1_000)
    assert "10 times as much" in sentences.skew(even.pow(1 / 2), 2_000)


@pytest.mark.parametrize(("kept", "words"), [(0.34, "fewer than half are"), (0.5, "at least half are")])
def test_best_sellers_stay_or_go(kept: float, words: str) -> None:
    overlap = pd.DataFrame({"mean": [kept, 0.2]}, index=[1, 2])
    overlap.attrs["top"] = 100
    assert words in sentences.staying(overlap, "week")
    assert f"{kept:.0%} after 1 week, 20% after 2 weeks" in sentences.staying(overlap, "week")
    assert sentences.staying(overlap.head(0), "day") == "The log has a single day."


def test_baskets() -> None:
    table = pd.DataFrame({"one basket": [0.3, 0.2], "any two purchases": [0.1, 0.19]}, index=["the type", "the colour"])
    assert "share the type in 30.0% of pairs" in sentences.basket(table)
    assert "3.0 times as often" in sentences.basket(table)
    assert "hardly more alike" in sentences.basket(table.iloc[1:])
    assert sentences.basket(table * np.nan) == "There is no pair of articles to compare."


@pytest.mark.parametrize(
    ("recall", "kept", "words"),
    [
        ([0.1, 0.2, 0.25, 0.24, 0.22], 4, "the best single epoch is 3, with 0.2500 against 0.2400"),
        ([0.1, 0.2, 0.25], 3, "it is also the best single epoch"),
    ],
)
def test_the_kept_epoch_is_not_called_the_best_single_one_unless_it_is(
    recall: list[float], kept: int, words: str
) -> None:
    history = pd.DataFrame({"epoch": range(1, len(recall) + 1), "recall@100": recall})
    text = sentences.kept_epoch(history, kept)
    assert text.startswith(f"Epoch {kept} of {len(recall)} is kept: the mean of its recall@100")
    assert words in text
    assert "nothing was validated" in sentences.kept_epoch(history[["epoch"]], len(recall))


def test_the_health_of_vectors_may_fall_too() -> None:
    names = ("distance, any other", "distance, bought", "uniformity, articles", "uniformity, customers")
    numbers = pd.DataFrame({name: [1.0, 1.0] for name in (*names, "effective rank of embeddings")}, index=[1, 2])
    numbers.loc[2, "distance, any other"] = 1.3
    numbers.loc[2, "effective rank of embeddings"] = 0.5
    text = sentences.health(numbers)
    assert "customer's own grows from 0.00 to 0.30" in text
    assert "embeddings falls from 1.00 to 0.50" in text
    assert "uniformity, articles stays from" in text


def test_the_correction_is_called_closer_only_where_it_is() -> None:
    table = pd.DataFrame({"share of sales": [0.8, 0.2], "with logQ": [0.8, 0.2], "without logQ": [0.5, 0.5]})
    assert "closer *with logQ*" in sentences.correction(table)
    swapped = table.rename(columns={"with logQ": "without logQ", "without logQ": "with logQ"})
    assert "closer *without logQ*" in sentences.correction(swapped[table.columns])


def test_weights() -> None:
    assert "85%" in sentences.weights(85, 100, 128)
    assert "most of them" in sentences.weights(85, 100, 128)
    assert "the smaller part" in sentences.weights(30, 100, 128)


# ---- the evaluation --------------------------------------------------------------------------


def ranking(share: float, seed: int, spread: int = 0) -> Int32:
    """``[n, 100]`` the article that everybody buys, 7, first for a share of the customers and absent for the rest."""
    ranked = np.full((N, 100), -1, dtype=np.int32)
    ranked[:, 0] = np.where(np.random.default_rng(seed).permutation(N) < share * N, 7, 30)
    if spread:
        ranked[:, 1] = 8 + np.arange(N) % spread
    return ranked


def evaluation(**shares: float) -> Evaluation:
    """Of rankings that are right for a share of the customers; the first one's customers include the next one's."""
    truth = Baskets(np.arange(N, dtype=np.int32) % 57, np.arange(N + 1), np.full(N, 7, np.int32))
    names = {"ours": PUBLISHED, "towers": TWO_TOWER, "popularity": "popularity", "repurchase": "repurchase, popularity"}
    rankings = {names[name]: ranking(share, 0, 3 * (name == "repurchase")) for name, share in shares.items()}
    return evaluate(rankings, truth, random_log(), AS_OF)


CHAIN = "repurchase, popularity"
RIVALS = ["popularity", CHAIN]


@pytest.mark.parametrize(
    ("shares", "best", "where"),
    [
        ({"ours": 0.9, "towers": 0.5, "popularity": 0.2, "repurchase": 0.4}, CHAIN, "significantly above"),
        ({"ours": 0.9, "towers": 0.5, "popularity": 0.4, "repurchase": 0.2}, "popularity", "significantly above"),
        ({"ours": 0.4, "towers": 0.3, "popularity": 0.4, "repurchase": 0.2}, "popularity", "not significantly"),
        ({"ours": 0.3, "towers": 0.3, "popularity": 0.2, "repurchase": 0.8}, CHAIN, "significantly below"),
    ],
)  # fmt: skip
def test_the_result_names_the_baseline_that_is_best_here(shares: dict[str, float], best: str, where: str) -> None:
    found = evaluation(**shares)
    rival = max(RIVALS, key=found.mean)
    assert rival == best
    text = sentence(found, rival, "from a to b")
    assert text.startswith(
        f"For the {N} customers who bought from a to b, the MAP@12 of *{PUBLISHED}* is **{shares['ours']:.4f}**"
    )
    assert f"{where}" in text
    assert f"(*{best}*)" in text
    assert f"**{found.mean(PUBLISHED) - found.mean(best):+.4f}**" in text
    assert ("% above." in text, "% below." in text) == (
        shares["ours"] > found.mean(best),
        shares["ours"] < found.mean(best),
    )
    assert f"The best baseline by both metrics is *{best}*" in sentences.best_baselines(found, RIVALS)


def test_for_and_against_follow_the_numbers() -> None:
    good = evaluation(ours=0.9, towers=0.5, popularity=0.2, repurchase=0.4)
    decided = decide(good, RIVALS)
    text = for_and_against(good, decided, "repurchase, popularity")
    assert text.startswith("**Published: significantly better than every baseline")
    assert "live customers" in text
    assert "The towers alone do not beat" not in text
    assert "diverse rankings" in text, "the baseline covers more"
    assert "oracle" not in text
    poor = evaluation(ours=0.3, towers=0.3, popularity=0.2, repurchase=0.8)
    decided = decide(poor, RIVALS, replaces="better")
    text = for_and_against(poor, decided, "repurchase, popularity")
    assert "Not published: significantly worse than “repurchase, popularity”" in text
    assert "The model in service stays" in text
    assert "The towers alone do not beat the best baseline" in text
    assert "“bought before”" in next_steps(poor, decided, "repurchase, popularity")[1]
    even = evaluation(ours=0.4, towers=0.3, popularity=0.4, repurchase=0.2)
    (step, *_) = next_steps(even, decide(even, RIVALS), "popularity")
    assert "A baseline may be as good as it" in step
    (step, *_) = next_steps(poor, decide(poor, RIVALS, "always"), "repurchase, popularity")
    assert "A baseline is significantly better than it" in step


def test_coverage() -> None:
    found = evaluation(ours=0.9, towers=0.5, popularity=0.2, repurchase=0.4)
    assert "less than “repurchase, popularity”" in sentences.coverage(found, RIVALS)
    assert "more than every baseline" in sentences.coverage(found, ["random"])


@pytest.mark.parametrize(
    ("ahead", "words"),
    [(0.1, "at every length"), (-0.1, "at no length"), (0.0, "at no length"), (None, "at 50 of 100 lengths")],
)
def test_depth(ahead: float | None, words: str) -> None:
    theirs = np.linspace(0.2, 0.4, 100)
    ours = theirs + (np.where(np.arange(100) < 50, 0.1, -0.1) if ahead is None else ahead)
    assert words in sentences.depth(pd.DataFrame({PUBLISHED: ours, "x": theirs}), "x")


def test_cold_start() -> None:
    columns = pd.MultiIndex.from_product([["MAP@12"], ["mean", "low", "high"]])
    rows = {"a": (0.1, 0.05, 0.2), "b": (-0.1, -0.2, -0.05), "c": (0.0, -0.1, 0.1), "d": (0.0, np.nan, np.nan)}
    text = sentences.cold_start(pd.DataFrame(rows.values(), index=list(rows), columns=columns), 75)
    assert text.startswith("75 customers")
    assert "above 0: “a”; below 0: “b”; not different from 0 or unknown: “c”, “d”" in text


@pytest.mark.parametrize(
    ("factor", "after", "words"),
    [
        (2.0, 1.1, ("likeliest pairs are bought 0.50 times", "least likely of the figure 1.00", "it is 1.10: closer")),
        (
            0.5,
            3.0,
            ("likeliest pairs are bought 2.00 times", "least likely of the figure 1.00", "it is 3.00: not closer"),
        ),
        (1.5, None, ("likeliest pairs are bought 0.67 times", "is 1.0, so there is one curve")),
    ],
)
def test_reliability(factor: float, after: float | None, words: tuple[str, ...]) -> None:
    curve = pd.DataFrame({"predicted": [0.01, 0.1], "observed": [0.01, 0.1 / factor], "purchases": [5.0, 5.0]})
    curves = [curve.assign(curve="as fitted")]
    if after:
        curves.append(curve.assign(curve="with", observed=curve["predicted"] / after))
    text = sentences.reliability(pd.concat(curves), 1.3 if after else 1.0)
    assert all(word in text for word in words), text
    assert "too few purchases" in sentences.reliability(curves[0].head(0), 1.0)
    if after:
        assert "too few purchases" in sentences.reliability(curves[1], 1.3)


@pytest.mark.parametrize(("exact", "words"), [(247.0, "2.5 times as fast"), (50.0, "not faster")])
def test_search_cost(exact: float, words: str) -> None:
    found = pd.DataFrame({"leaves": [8, 16], "microseconds": [60.0, 100.0]})
    found.attrs["exact"] = exact
    text = sentences.search_cost(found, 16, 100, 0.992)
    assert words in text
    assert "100 µs" in text


def test_missed() -> None:
    table = pd.DataFrame({"missed": [0.1, 0.9], "found": [0.5, 0.4]}, index=["new", "slow"])
    assert "“slow” is true of 90% of them and of 40% of the found" in sentences.missed(table, 0.79)
    assert "“new” is true more often of found ones" in sentences.missed(table, 0.79)
    assert "No statement" in sentences.missed(table.head(1), 0.79)
    assert "nothing to compare" in sentences.missed(table.assign(found=np.nan), 1.0)
