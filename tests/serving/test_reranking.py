"""Maximal marginal relevance, against the definition written out."""

from __future__ import annotations

import numpy as np
import pytest

from hm_utils.serving.reranking import maximal_marginal_relevance
from tests.helpers.vectors import unit


def by_definition(scores, vectors, diversity, k):
    relevance = (scores - scores.min()) / (scores.max() - scores.min())
    chosen = [0]
    while len(chosen) < min(k, len(scores)):
        left = [i for i in range(len(scores)) if i not in chosen]
        value = [
            (1 - diversity) * relevance[i] - diversity * max(float(vectors[i] @ vectors[j]) for j in chosen)
            for i in left
        ]
        chosen.append(left[int(np.argmax(value))])
    return chosen


@pytest.mark.parametrize("diversity", [0.0, 0.3, 0.9, 1.0])
def test_choices_are_by_the_definition(diversity):
    rng = np.random.default_rng(0)
    scores = -np.sort(-rng.normal(size=30)).astype(np.float32)
    vectors = unit(rng.normal(size=(30, 4)))
    found = maximal_marginal_relevance(scores, vectors, diversity, 12)
    assert found.tolist() == by_definition(scores, vectors, diversity, 12)


def test_equal_scores_and_short_lists():
    vectors = unit(np.eye(3))
    assert maximal_marginal_relevance(np.ones(3, np.float32), vectors, 0.5, 9).tolist() == [0, 1, 2]
    assert maximal_marginal_relevance(np.ones(0, np.float32), vectors[:0], 0.5, 9).tolist() == []
