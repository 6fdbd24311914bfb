"""Whether a model may be published."""

from types import SimpleNamespace

import pytest

from hm_utils.evaluation.decision import PUBLISHED, TWO_TOWER, decide


@pytest.mark.parametrize(
    ("towers", "published", "expected"),
    [(0.05, 0.06, True), (0.05, 0.04, False), (0.01, 0.06, False), (0.03, 0.06, True)],
)
def test_the_published_ranking_and_the_towers_alone_must_beat_the_best_sellers(towers, published, expected):
    scores = {TWO_TOWER: towers, PUBLISHED: published, "popularity": 0.02, "recent popularity": 0.045}
    decision = decide(SimpleNamespace(mean=scores.__getitem__))  # type: ignore[arg-type]
    assert decision.publish is expected
    assert f"{min(towers, published) if not expected else published:.4f}" in decision.reason
