"""A map of the articles: a layout that puts similar articles close together, and a small file that a browser reads.

The layout is a t-SNE in numpy. A few nearest neighbours from the index attract, all with equal weight (Böhm, Berens &
Kobak, JMLR 2022). All articles repel each other, computed on a grid with FFT (Linderman et al., Nature Methods 2019).
Close means similar; large distances mean little.

The file, little-endian and in order of article row, needs no parsing:

    uint32 n, uint32 length of the header
    header: JSON, {"groups": [...]}, blanks up to a multiple of 4
    uint32 product [n], uint16 variant [n]   the article id is product x 1000 + variant, in ten digits; other ids than
                                             these are a list "ids" of the header instead
    uint16 x [n], uint16 y [n]               0 to 65535, the same scale in both directions
    uint8 group [n]                          index into groups; 255 for an article without one
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import fft, sparse

from hm_utils.arrays import Float32, Float64
from hm_utils.data.ids import HM_ARTICLE
from hm_utils.retrieval.index import build_index

EXTENT = 65_535
NO_GROUP = 255

DIMENSIONS = 32  # principal components in which neighbours are searched
NEIGHBOURS = 15
LEAF_SHARE, CANDIDATES = 16, 64  # settings of the index that finds them
# Steps, and the factor on the attraction: first to gather, then to spread.
PHASES = ((80, 12.0), (200, 1.0))
MOMENTUM = 0.8
CELL = 0.7  # width of a grid cell in units of the layout, in which the repulsion decays over about 1
# Fewest and most grid cells a side: a multiple of the square root of the number of articles, up to a limit.
CELLS = (8, 250), (16, 700)
LONGEST_STEP = 5.0  # units


def pack(places: Float32, ids: Sequence[str], groups: pd.Series) -> bytes:
    """The content of the file.

    Args:
        places: ``[n, 2]`` from :func:`layout`.
        groups: the group of each article, as text; missing if it has none. Beyond the 255 largest, none is shown.
    """
    largest = groups.value_counts().index[:NO_GROUP]
    codes, names = pd.factorize(groups.where(groups.isin(largest)), sort=True)
    facts: dict[str, list[str]] = {"groups": list(names)}
    are_numbers = all(re.fullmatch(HM_ARTICLE, text) for text in ids)
    if not are_numbers:
        facts["ids"] = list(ids)
    header = json.dumps(facts, ensure_ascii=True)
    header += " " * (-len(header) % 4)
    low = places.min(axis=0)
    scale = EXTENT / max(float((places.max(axis=0) - low).max()), 1e-9)
    margin = (EXTENT - (places.max(axis=0) - low) * scale) / 2  # centres the shorter side
    x, y = np.clip(np.rint((places - low) * scale + margin), 0, EXTENT).astype("<u2").T
    numbers = np.array(ids if are_numbers else [], dtype=np.int64)
    parts = [
        np.array([len(ids), len(header)], dtype="<u4").tobytes(),
        header.encode(),
        (numbers // 1000).astype("<u4").tobytes(),
        (numbers % 1000).astype("<u2").tobytes(),
        x.tobytes(),
        y.tobytes(),
        np.where(codes < 0, NO_GROUP, codes).astype(np.uint8).tobytes(),
    ]
    return b"".join(parts)


def size_of(packed: bytes) -> tuple[int, int]:
    """The number of articles in the content of a file, and the bytes that it should have."""
    n, length = (int(number) for number in np.frombuffer(packed[:8], dtype="<u4"))
    header = json.loads(packed[8 : 8 + length])
    return n, 8 + length + (5 if "ids" in header else 11) * n


def layout(vectors: Float32, seed: int = 0) -> Float32:
    """``[n, 2]`` places of ``vectors`` (``[n, d]``, no row zero), the same for the same seed."""
    n = len(vectors)
    principal = _principal(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
    # A little noise separates equal vectors.
    places = np.random.default_rng(seed).normal(scale=1e-4, size=(n, 2))
    places[:, : principal.shape[1]] += principal[:, :2] / max(float(principal[:, 0].std()), 1e-9)
    if n < 4:
        return places.astype(np.float32)
    neighbours = _affinities(principal)
    rate, speed = 4 * n / PHASES[0][1], np.zeros_like(places)
    for steps, exaggeration in PHASES:
        for _ in range(steps):
            force = exaggeration * _attraction(neighbours, places) - repulsion(places)
            speed = MOMENTUM * speed - rate * force
            length = np.linalg.norm(speed, axis=1, keepdims=True)
            speed *= np.minimum(1.0, LONGEST_STEP / np.maximum(length, 1e-12))
            places = places + speed
            places -= places.mean(axis=0)
    return places.astype(np.float32)


def _principal(units: Float32) -> Float32:
    """``[n, at most DIMENSIONS]`` the principal components, by descending variance."""
    centred = units - units.mean(axis=0)
    _, directions = np.linalg.eigh((centred.T @ centred).astype(np.float64))
    directions = directions[:, ::-1][:, :DIMENSIONS]
    # The sign of an eigenvector is arbitrary: make the largest entry positive, for the same map on every machine.
    directions = directions * np.sign(directions[np.abs(directions).argmax(axis=0), np.arange(directions.shape[1])])
    return (centred @ directions).astype(np.float32)


def _affinities(principal: Float32) -> sparse.csr_array:
    """``[n, n]`` equal weights of each article's nearest neighbours, made symmetric, with sum 1."""
    n, k = len(principal), min(NEIGHBOURS, len(principal) - 1)
    units = principal / np.maximum(np.linalg.norm(principal, axis=1, keepdims=True), 1e-9)
    units[np.linalg.norm(units, axis=1) < 0.5, 0] = 1  # the centre has no direction, which the index needs
    # A few missed neighbours do not change the map: far fewer leaves and candidates than a recommendation gets.
    index = build_index(units, leaves_to_search=max(1, round(n**0.5 / LEAF_SHARE)), reorder=CANDIDATES)
    found, _ = index.search(units, k + 1)
    row, column = np.repeat(np.arange(n), k + 1), found.ravel()
    other = (column >= 0) & (column != row)
    row, column = row[other], column[other]
    near = sparse.csr_array((np.full(len(row), 1 / k, np.float32), (row, column)), shape=(n, n))
    symmetric = sparse.csr_array((near + near.T) / (2 * n))
    symmetric.sort_indices()
    return symmetric


def _attraction(neighbours: sparse.csr_array, places: Float64) -> Float64:
    """``[n, 2]`` gradient of the attraction between neighbours; a step goes against it."""
    narrow = places.astype(np.float32)
    row = np.repeat(np.arange(len(places)), np.diff(neighbours.indptr))
    apart = narrow[row] - narrow[neighbours.indices]
    weight = neighbours.data / (1 + np.vecdot(apart, apart))
    return np.stack(
        [np.bincount(row, weights=weight * apart[:, axis], minlength=len(places)) for axis in (0, 1)], axis=1
    )


def repulsion(places: Float64) -> Float64:
    """``[n, 2]`` the repulsion of each place (``[n, 2]``) by all others, interpolated from sums on a grid."""
    low = places.min(axis=0)
    extent = float((places.max(axis=0) - low).max())
    fewest, most = (min(times * len(places) ** 0.5, up_to) for times, up_to in CELLS)
    side = int(np.clip(extent / CELL, fewest, most)) + 3
    cell = max(extent, 1e-9) / (side - 3)
    at = (places - low) / cell
    corner = at.astype(np.int64)
    part = at - corner
    # Each place is shared among the four grid points around it.
    shares = [
        ((corner[:, 0] + i) * side + corner[:, 1] + j, np.abs(1 - i - part[:, 0]) * np.abs(1 - j - part[:, 1]))
        for i in (0, 1)
        for j in (0, 1)
    ]
    padded = fft.next_fast_len(2 * side, real=True)
    steps = np.minimum(np.arange(padded), padded - np.arange(padded)) * cell
    kernel = 1 / (1 + steps[:, None] ** 2 + steps[None, :] ** 2)
    narrow, wide = (fft.rfft2(k.astype(np.float32), workers=2) for k in (kernel, kernel**2))

    def spread(charge: Float64 | float) -> npt.NDArray[np.complexfloating]:
        grid = sum(np.bincount(point, weights=share * charge, minlength=side * side) for point, share in shares)
        return fft.rfft2(np.asarray(grid, np.float32).reshape(side, side), s=(padded, padded), workers=2)

    def read(product: npt.NDArray[np.complexfloating]) -> Float64:
        field = fft.irfft2(product, s=(padded, padded), workers=2)[:side, :side].ravel()
        return sum((share * field[point] for point, share in shares), start=np.zeros(len(places)))

    ones = spread(1.0)
    total = float(read(ones * narrow).sum()) - len(places)  # without the repulsion of each place by itself
    crowd = read(ones * wide)
    drift = np.stack([read(spread(at[:, axis]) * wide) for axis in (0, 1)], axis=1)
    return (at * crowd[:, None] - drift) * cell / max(total, 1e-9)
