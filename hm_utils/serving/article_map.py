"""A map of the articles as one small file, which a browser reads without parsing.

    uint32 n, uint32 length of the header
    header: JSON, {"groups": [...]}, blanks up to a multiple of 4
    uint32 product [n], uint16 variant [n]   the article id is product x 1000 + variant, in ten digits
    uint16 x [n], uint16 y [n]               0 to 65535, the same scale in both directions
    uint8 group [n]                          a place in groups; 255 for an article of none

All little-endian, in order of article row. Where the places come from is :mod:`hm_utils.serving.layout`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from hm_utils.arrays import Float32

FILE = "map.bin"
EXTENT = 65_535
NO_GROUP = 255


def pack(places: Float32, ids: Sequence[str], groups: pd.Series) -> bytes:
    """The file: where each article lies, which it is, and its group (texts, missing where it has none)."""
    codes, names = pd.factorize(groups, sort=True)
    if len(names) > NO_GROUP:
        raise ValueError(f"a map has at most {NO_GROUP} groups, not {len(names)}")
    header = json.dumps({"groups": list(names)}, ensure_ascii=True)
    header += " " * (-len(header) % 4)
    low = places.min(axis=0)
    scale = EXTENT / max(float((places.max(axis=0) - low).max()), 1e-9)
    margin = (EXTENT - (places.max(axis=0) - low) * scale) / 2  # the shorter side lies in the middle
    x, y = np.clip(np.rint((places - low) * scale + margin), 0, EXTENT).astype("<u2").T
    numbers = np.array(ids, dtype=np.int64)
    parts = [
        np.array([len(numbers), len(header)], dtype="<u4").tobytes(),
        header.encode(),
        (numbers // 1000).astype("<u4").tobytes(),
        (numbers % 1000).astype("<u2").tobytes(),
        x.tobytes(),
        y.tobytes(),
        np.where(codes < 0, NO_GROUP, codes).astype(np.uint8).tobytes(),
    ]
    return b"".join(parts)


def write_map(folder: Path, places: Float32, articles: pd.DataFrame) -> None:
    """Write :data:`FILE`: ``places`` are of the ``articles`` (``article_id``, ``index_group_name``)."""
    (folder / FILE).write_bytes(pack(places, articles["article_id"].tolist(), articles["index_group_name"]))
