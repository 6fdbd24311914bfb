"""Whether a model may be published, and what is said for and against it."""

import numpy as np
import pandas as pd
import pytest

from hm_utils.data.purchases import Baskets
from hm_utils.evaluation.comparison import evaluate
from hm_utils.evaluation.decision import PUBLISHED, TWO_TOWER, decide, for_and_against
from tests.helpers.data import ARTICLES, CUSTOMERS, random_log

AS_OF = 40


def ranking(share: float, seed: int) -> np.ndarray:
    """``[n, 100]`` the article that everybody buys, 7, first for a share of the customers and last for the rest."""
    rng = np.random.default_rng(seed)
    others = np.setdiff1d(np.arange(ARTICLES), [7])
    first = rng.random(CUSTOMERS * 5) < share
    ranked = np.full((CUSTOMERS * 5, 100), -1, dtype=np.int32)
    ranked[:, 1:20] = others[:19]
    ranked[first, 0] = 7
    ranked[~first, 0] = 30
    return ranked


@pytest.fixture(scope="module")
def evaluation():
    n = CUSTOMERS * 5
    truth = Baskets(np.arange(n, dtype=np.int32) % CUSTOMERS, np.arange(n + 1), np.full(n, 7, np.int32))
    shares = {TWO_TOWER: 0.3, PUBLISHED: 0.5, "weak": 0.2, "weaker": 0.1, "strong": 0.8}
    rankings = {name: ranking(share, seed) for seed, (name, share) in enumerate(shares.items())}
    rankings["even"] = rankings[PUBLISHED]
    return evaluate(rankings, truth, random_log(), AS_OF)


@pytest.mark.parametrize(
    ("rivals", "verdict", "published"),
    [
        (["weak", "weaker"], "better", {"better": True, "not worse": True, "always": True}),
        (["weak", "even"], "not worse", {"better": False, "not worse": True, "always": True}),
        (["weak", "strong", "even"], "worse", {"better": False, "not worse": False, "always": True}),
    ],
)
def test_every_baseline_is_compared_by_paired_intervals(evaluation, rivals, verdict, published):
    for publish_if, expected in published.items():
        found = decide(evaluation, rivals, publish_if, replaces="better")
        assert found.verdict == verdict
        assert found.publish is expected
        named = [rival for rival in ("weak", "weaker", "even", "strong") if f"“{rival}”" in found.reason]
        assert named == {"better": [], "not worse": ["even"], "worse": ["strong"]}[verdict]
        assert found.reason.startswith("Published" if expected else "Not published")


@pytest.mark.parametrize(
    ("replaces", "expected"), [(None, True), ("worse", True), ("not worse", False), ("better", False)]
)
def test_a_worse_ranking_replaces_no_model_that_was_not(evaluation, replaces, expected):
    assert decide(evaluation, ["weak", "strong"], replaces=replaces).publish is expected


def test_an_unknown_rule_is_refused(evaluation):
    with pytest.raises(ValueError, match="'better', 'not worse', 'always'"):
        decide(evaluation, ["weak"], "sometimes")


def test_what_speaks_against_is_listed(evaluation):
    found = decide(evaluation, ["weak", "strong"])
    text = "\n".join(found.against)
    assert "significantly below that of “strong” for “everyone”" in text
    assert "The two-tower alone has a MAP@12 of" in text
    assert "new to the customer" in text
    assert "new to the customer" not in "".join(decide(evaluation, ["weak"]).against)
    words = for_and_against(evaluation, found, "strong")
    assert all(f"- {line}" in words for line in found.against)
    assert isinstance(pd.Series(found.against), pd.Series)
