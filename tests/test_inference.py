"""The towers over whole tables."""

import numpy as np

from hm_utils.features import CatalogueState
from hm_utils.inference import Snapshot
from hm_utils.preprocessing import make_training_data
from hm_utils.towers import TwoTower
from tests.data import ARTICLES, article_table, customer_table, random_log


def test_a_ranking_is_by_score_and_padded_where_the_catalogue_ends():
    log = random_log()
    training = make_training_data(article_table(), customer_table(), log, 40, 4)
    model = TwoTower(training.tower_config(8, [16], 8)).eval()
    state = CatalogueState(log).as_of(40)
    snapshot = Snapshot.take(model, training.features, state, training.attributes, log, 40, 5)
    rows = np.array([0, 3, 59], dtype=np.int32)
    ranked = snapshot.rank(rows, 100)
    assert ranked.shape == (3, 100)
    assert ranked.dtype == np.int32
    assert (ranked[:, ARTICLES:] == -1).all()
    scores = snapshot.scale * snapshot.customers(rows) @ snapshot.article_vectors.T + snapshot.popularity
    np.testing.assert_allclose(
        np.take_along_axis(scores, ranked[:, :ARTICLES], axis=1), -np.sort(-scores, axis=1), atol=1e-4
    )
    np.testing.assert_allclose(snapshot.score(rows, ARTICLES)[1], -np.sort(-scores, axis=1), atol=1e-4)
    assert all(len(set(row)) == ARTICLES for row in ranked[:, :ARTICLES].tolist())
    np.testing.assert_array_equal(snapshot.rank(rows, 7), ranked[:, :7])
    assert snapshot.rank(rows[:0], 100).shape == (0, 100)
