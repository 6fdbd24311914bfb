"""Vectors like a trained model's, and the exact ranking that an index is compared with."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from hm_utils.arrays import Float32
from hm_utils.retrieval.index import ScannIndex, build_index, import_scann


def unit(array: npt.NDArray[np.floating]) -> Float32:
    return (array / np.linalg.norm(array, axis=1, keepdims=True)).astype(np.float32)


def scann_missing() -> bool:
    try:
        import_scann()
    except ImportError:
        return True
    return False


needs_scann = pytest.mark.skipif(scann_missing(), reason="ScaNN has no wheel for this machine")


def clustered_vectors() -> Float32:
    """``[6_000, 32]`` articles in 60 clusters, like those of a trained item tower."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(60, 32))
    return unit(centres[rng.integers(0, 60, 6_000)] + 0.5 * rng.normal(size=(6_000, 32)))


def queries_near(vectors: Float32) -> Float32:
    """``[300, 32]`` queries, each near an article."""
    rng = np.random.default_rng(1)
    return unit(vectors[rng.choice(len(vectors), 300, replace=False)] + 0.1 * rng.normal(size=(300, 32)))


def scann_index_of(vectors: Float32) -> ScannIndex:
    """A ScaNN index that searches 16 leaves; the test is skipped without ScaNN."""
    if scann_missing():
        pytest.skip("ScaNN has no wheel for this machine")
    index = build_index(vectors, leaves_to_search=16)
    assert isinstance(index, ScannIndex)
    return index


def exact_ranking(vectors: Float32, queries: Float32, k: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """The k best articles ``[m, k]`` and their scores, by sorting everything in float64."""
    scores = queries.astype(np.float64) @ vectors.astype(np.float64).T
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return order, np.take_along_axis(scores, order, axis=1)
