"""The map puts similar articles close together, and the file has the place of every article."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from hm_utils.serving.article_map import EXTENT, NO_GROUP, layout, pack, repulsion
from tests.helpers.served import unpacked
from tests.helpers.vectors import clustered_vectors, needs_scann


def test_the_file_says_where_every_article_is():
    places = np.array([[0, 0], [10, 5], [-10, -5], [3, 4]], dtype=np.float32)
    ids = ["0108775015", "0000000001", "9999999999", "0751471001"]
    groups, found, where, codes = unpacked(pack(places, ids, pd.Series(["Sport", "Divided", None, "Barn & bébé"])))
    assert found == ids
    assert groups == ["Barn & bébé", "Divided", "Sport"]
    assert codes.tolist() == [2, 1, NO_GROUP, 0]
    assert where[:, 0].tolist() == [round(EXTENT / 2), EXTENT, 0, round(13 / 20 * EXTENT)]
    # The same scale in both directions, the shorter one in the middle.
    np.testing.assert_allclose(where[:, 1], [EXTENT / 2, 0.75 * EXTENT, 0.25 * EXTENT, 0.7 * EXTENT], atol=1)


def test_a_catalogue_of_the_real_size_fits_into_two_megabytes():
    n = 105_542
    places = np.random.default_rng(0).normal(size=(n, 2)).astype(np.float32)
    packed = pack(places, [f"{i:010d}" for i in range(n)], pd.Series(["Ladieswear"] * n))
    assert len(packed) < 2_000_000


@needs_scann
def test_what_is_alike_lies_together():
    rng = np.random.default_rng(0)
    cluster = np.repeat(np.arange(12), 150)
    vectors = (3 * rng.normal(size=(12, 24))[cluster] + rng.normal(size=(len(cluster), 24))).astype(np.float32)
    places = layout(vectors)
    assert np.isfinite(places).all()
    apart = np.linalg.norm(places[:, None] - places[None], axis=2)
    np.fill_diagonal(apart, np.inf)
    nearest = np.argsort(apart, axis=1)[:, :10]
    assert (cluster[nearest] == cluster[:, None]).mean() > 0.95
    # Spread over the plane: the clusters do not lie on one spot.
    middles = np.stack([places[cluster == c].mean(axis=0) for c in range(12)])
    between = np.linalg.norm(middles[:, None] - middles[None], axis=2)[np.triu_indices(12, 1)]
    within = np.mean([places[cluster == c].std(axis=0) for c in range(12)])
    assert between.min() > 2 * within
    # And so are the articles of one cluster.
    assert within > 0.01 * np.ptp(places)


def test_it_is_the_same_every_time():
    vectors = clustered_vectors()[:400]
    np.testing.assert_array_equal(layout(vectors), layout(vectors))


@pytest.mark.parametrize("n", [1, 2, 3, 5, 40])
def test_few_articles_and_equal_ones_have_places_too(n):
    assert np.isfinite(layout(np.ones((n, 8), dtype=np.float32))).all()
    assert layout(np.eye(max(n, 2), dtype=np.float32)[:n]).shape == (n, 2)


def test_the_repulsion_is_that_of_all_on_all():
    places = np.random.default_rng(1).normal(scale=6, size=(300, 2))
    apart = places[:, None] - places[None]
    weight = 1 / (1 + (apart**2).sum(axis=2))
    np.fill_diagonal(weight, 0)
    exact = (weight[:, :, None] ** 2 * apart).sum(axis=1) / weight.sum()
    assert np.linalg.norm(repulsion(places) - exact) < 0.03 * np.linalg.norm(exact)
