"""One catalogue of vectors for the tests of search, and its ScaNN index."""

from __future__ import annotations

import pytest

from hm_utils.arrays import Float32
from hm_utils.retrieval.index import ScannIndex
from tests.helpers.vectors import clustered_vectors, queries_near, scann_index_of


@pytest.fixture(scope="session")
def vectors() -> Float32:
    return clustered_vectors()


@pytest.fixture(scope="session")
def queries(vectors: Float32) -> Float32:
    return queries_near(vectors)


@pytest.fixture(scope="session")
def scann_index(vectors: Float32) -> ScannIndex:
    return scann_index_of(vectors)
