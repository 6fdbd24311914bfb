"""Search by meaning, over a small shop."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from hm_utils.serving.word_search import WordIndex, words_of

SHOP = [
    "Drift Sweater Black Knitwear Sweater in a chunky wool knit.",
    "Nora Dress Red Dresses Dress in shimmering satin.",
    "Nora Dress Blue Dresses Dress in plain cotton.",
    "Oat Socks Grey Socks Socks in cotton.",
    "Oat Socks Grey Socks Socks in soft wool.",
    "Folk Bikini top Green Swimwear Bikini top in crocheted yarn.",
    "Plain T-shirt White Jersey T-shirt in cotton.",
    "Пальто Серый Пальто",
    "Tove Parka Grey Outdoor Parka in thick teddy pile with a fleecy, quilted and padded hood.",
    "",
]


@pytest.mark.parametrize(
    ("request_", "best"),
    [
        ("something warm for winter", [0, 8, 4]),  # no word of it is in the shop
        ("a day at the beach", [5]),
        ("a red dress for a wedding", [1]),
        ("dresses", [1, 2]),
        ("DRESS, blue!", [2]),
        ("warm socks", [4]),  # both words count
        ("a dress for the winter", [1, 2]),  # however warm, a parka is no dress
        ("t-shirt", [6]),
        ("пальто", [7]),
        ("pyjamas", []),
        ("qwertz", []),
        ("something for the", []),
        ("*?%_\\", []),
    ],
)
def test_the_best_answers_come_first(request_, best):
    scores = WordIndex(pa.array(SHOP)).scores(words_of(request_))
    assert len(scores) == len(SHOP)
    if not best:
        assert not scores.any()
    assert np.argsort(-scores, kind="stable")[: len(best)].tolist() == best
    assert (scores[best] > 0).all()


def test_a_shop_without_words_has_no_answers():
    assert not WordIndex(pa.array(["", ""])).scores(["warm", "dress"]).any()
