"""Reranking for diversity."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hm_utils.arrays import Float32


def maximal_marginal_relevance(scores: Float32, vectors: Float32, diversity: float, k: int) -> npt.NDArray[np.int64]:
    """Places of k candidates, chosen one by one for their score and against similarity to those already chosen.

    Each step takes the largest ``(1 - diversity) x relevance - diversity x highest cosine to the chosen ones``
    (Carbonell & Goldstein, SIGIR 1998); relevance is the score, rescaled to [0, 1].

    Args:
        scores: ``[n]`` falling.
        vectors: ``[n, d]`` unit vectors.
        diversity: 0 keeps the order of the scores, 1 ranks by dissimilarity alone after the first.
        k: at most n.
    """
    spread = float(scores[0] - scores[-1]) if len(scores) else 0.0
    relevance = (scores - scores[-1]) / spread if spread > 0 else np.zeros(len(scores))
    chosen = np.empty(min(k, len(scores)), dtype=np.int64)
    left = np.ones(len(scores), dtype=bool)
    similarity_so_far = np.zeros(len(scores))
    for step in range(len(chosen)):
        value = np.where(left, (1 - diversity) * relevance - diversity * similarity_so_far, -np.inf)
        # argmax takes the first of equals, which has the better score. The first choice is always the best.
        chosen[step] = value.argmax() if step else 0
        left[chosen[step]] = False
        similarity = vectors @ vectors[chosen[step]]
        similarity_so_far = np.maximum(similarity_so_far, similarity) if step else similarity
    return chosen
