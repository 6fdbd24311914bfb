"""The metrics against ranx, against loops, and by hand."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from hm_utils.data.purchases import Baskets
from hm_utils.evaluation.metrics import (
    average_precision,
    coverage,
    hit_matrix,
    hit_rate,
    intra_list_diversity,
    ndcg,
    novelty,
    recall,
    self_information,
)

N, K, N_ARTICLES = 150, 100, 160


def baskets(articles: list[list[int]]) -> Baskets:
    sizes = [len(part) for part in articles]
    return Baskets(
        customers=np.arange(len(articles), dtype=np.int32),
        offsets=np.concatenate([[0], np.cumsum(sizes)]),
        articles=np.array([article for part in articles for article in sorted(part)], dtype=np.int32),
    )


@pytest.fixture(scope="module")
def truth() -> Baskets:
    """1 to 40 articles a customer; many customers bought more than 12."""
    rng = np.random.default_rng(0)
    return baskets([rng.choice(N_ARTICLES, size=rng.integers(1, 41), replace=False).tolist() for _ in range(N)])


@pytest.fixture(scope="module")
def ranked() -> np.ndarray:
    """Rankings of 1 to 100 distinct articles."""
    rng = np.random.default_rng(1)
    rankings = rng.permuted(np.tile(np.arange(N_ARTICLES, dtype=np.int32), (N, 1)), axis=1)[:, :K]
    rankings[np.arange(K) >= rng.integers(1, K + 40, size=(N, 1))] = -1
    return rankings


def bought_by(truth: Baskets, i: int) -> set[int]:
    return set(truth.articles[truth.offsets[i] : truth.offsets[i + 1]].tolist())


def test_data_covers_the_hard_cases(truth: Baskets, ranked: np.ndarray) -> None:
    assert (truth.sizes > 12).sum() > 20
    assert (truth.sizes < 12).sum() > 20
    lengths = (ranked >= 0).sum(axis=1)
    assert (lengths < 12).sum() > 5
    assert (lengths == K).sum() > 5


def test_hit_matrix_is_membership(truth: Baskets, ranked: np.ndarray) -> None:
    expected = [[article in bought_by(truth, i) for article in row] for i, row in enumerate(ranked.tolist())]
    hits = hit_matrix(ranked, truth)
    assert hits.dtype == bool
    np.testing.assert_array_equal(hits, expected)


def test_padding_is_no_hit_even_after_a_buyer_of_the_last_article() -> None:
    # Article 9 is the highest: as one number, (0, 9) and (1, -1) would be the same pair.
    truth = baskets([[9], [3], [9]])
    assert hit_matrix(np.array([[9, -1], [-1, -1], [-1, 9]], np.int32), truth).tolist() == [
        [True, False],
        [False, False],
        [False, True],
    ]


def test_hit_matrix_of_customers_who_bought_nothing() -> None:
    hits = hit_matrix(np.array([[0, 1], [1, 0], [-1, -1]], np.int32), baskets([[], [0], []]))
    assert hits.tolist() == [[False, False], [False, True], [False, False]]
    assert not hit_matrix(np.array([[0, 1]], np.int32), baskets([[]])).any()


def test_hit_matrix_wants_a_row_a_customer(truth: Baskets, ranked: np.ndarray) -> None:
    with pytest.raises(ValueError, match="150 customers"):
        hit_matrix(ranked[:-1], truth)


def test_metrics_equal_ranx(truth: Baskets, ranked: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")  # compiling ranx takes a minute, interpreting it half a second
    from ranx import Qrels, Run, evaluate

    qrels = Qrels({f"q{i}": {str(article): 1 for article in bought_by(truth, i)} for i in range(N)})
    run = Run(
        {f"q{i}": {str(a): float(K - place) for place, a in enumerate(row) if a >= 0} for i, row in enumerate(ranked)}
    )
    names = ["map@12", "recall@12", "recall@100", "ndcg@12", "hit_rate@12"]
    evaluate(qrels, run, names)
    theirs = {name: np.array([run.scores[name][f"q{i}"] for i in range(N)]) for name in names}
    # ranx divides by all relevant articles, the competition by at most 12 of them.
    theirs["map@12"] *= truth.sizes / np.minimum(truth.sizes, 12)

    hits, bought = hit_matrix(ranked, truth), truth.sizes
    np.testing.assert_allclose(average_precision(hits, bought, k=12), theirs["map@12"])
    np.testing.assert_allclose(recall(hits, bought, k=12), theirs["recall@12"])
    np.testing.assert_allclose(recall(hits, bought, k=100), theirs["recall@100"])
    np.testing.assert_allclose(ndcg(hits, bought, k=12), theirs["ndcg@12"])
    np.testing.assert_allclose(hit_rate(hits, k=12), theirs["hit_rate@12"])


def test_average_precision_by_hand() -> None:
    hits = np.zeros((4, 20), dtype=bool)
    hits[0, [0, 2]] = True  # places 1 and 3, of 3 bought
    hits[1, :12] = True  # all of the first 12, of 30 bought
    hits[2, 12] = True  # place 13 is one too late
    hits[3, 11] = True  # place 12, of 1 bought
    expected = [(1 + 2 / 3) / 3, 1.0, 0.0, 1 / 12]
    np.testing.assert_allclose(average_precision(hits, np.array([3, 30, 1, 1])), expected)


def test_a_ranking_shorter_than_k() -> None:
    hits, bought = np.array([[True, False, True]]), np.array([20])
    np.testing.assert_allclose(average_precision(hits, bought), (1 + 2 / 3) / 12)
    np.testing.assert_allclose(recall(hits, bought), 2 / 20)
    np.testing.assert_allclose(ndcg(hits, bought), 1.5 / np.sum(1 / np.log2(np.arange(2, 14))))
    assert hit_rate(hits).tolist() == [1.0]


def test_perfect_rankings_score_one(truth: Baskets) -> None:
    perfect = np.full((N, K), -1, dtype=np.int32)
    for i in range(N):
        perfect[i, : truth.sizes[i]] = sorted(bought_by(truth, i))
    hits, bought = hit_matrix(perfect, truth), truth.sizes
    for metric in (average_precision, ndcg):
        np.testing.assert_allclose(metric(hits, bought, k=12), 1.0)
    np.testing.assert_allclose(recall(hits, bought, k=100), 1.0)


def test_coverage_counts_articles_of_the_first_k() -> None:
    ranked = np.array([[1, 2, 7], [2, 3, 8], [-1, -1, -1]], np.int32)
    assert coverage(ranked, 10, k=2) == 0.3
    assert coverage(ranked, 10) == 0.5
    assert coverage(np.full((2, 3), -1, np.int32), 10) == 0.0


def test_self_information_is_in_bits() -> None:
    np.testing.assert_allclose(self_information(np.array([0, 1, 7, 511]), 1_022), [10, 9, 7, 1])


@pytest.mark.parametrize("k", [1, 12, 100])
def test_novelty_is_the_mean_information_of_the_first_k(ranked: np.ndarray, k: int) -> None:
    information = np.random.default_rng(2).exponential(size=N_ARTICLES)
    rankings = np.concatenate([ranked, np.full((1, K), -1, np.int32)])
    values = novelty(rankings, information, k)
    for row, value in zip(rankings[:-1].tolist(), values.tolist(), strict=False):
        bits = [information[article] for article in row[:k] if article >= 0]
        assert value == pytest.approx(sum(bits) / len(bits))
    assert np.isnan(values[-1])


@pytest.mark.parametrize("k", [2, 12])
def test_diversity_is_the_mean_share_of_attributes_that_differ(ranked: np.ndarray, k: int) -> None:
    attributes = np.random.default_rng(3).integers(-1, 3, size=(N_ARTICLES, 3)).astype(np.int64)
    attributes[:, 2] *= 1_000
    values = intra_list_diversity(ranked, attributes, k)
    for row, value in zip(ranked.tolist(), values.tolist(), strict=True):
        articles = [article for article in row[:k] if article >= 0]
        distances = [
            sum(int(x != y) for x, y in zip(attributes[a], attributes[b], strict=True)) / 3
            for a, b in combinations(articles, 2)
        ]
        if distances:
            assert value == pytest.approx(sum(distances) / len(distances))
        else:
            assert np.isnan(value)
    assert np.isnan(values).any()


def test_diversity_goes_from_alike_to_nothing_shared() -> None:
    attributes = np.array([[0, 0], [0, 0], [1, 1], [0, 1]])
    rankings = np.array([[0, 1, -1], [0, 2, -1], [0, 1, 3], [-1, 0, -1]], np.int32)
    np.testing.assert_allclose(intra_list_diversity(rankings, attributes), [0, 1, 1 / 3, np.nan])
