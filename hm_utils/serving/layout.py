"""Vectors laid out in the plane, so that what is alike lies together.

A t-SNE in numpy: a few neighbours from the index, which all count the same (Böhm, Berens & Kobak, JMLR 2022); their
pull as sums over pairs; and the push of all on all on a grid with FFT (Linderman et al., Nature Methods 2019). It is
for looking at: near is alike, far says little.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import fft, sparse

from hm_utils.arrays import Float32, Float64
from hm_utils.retrieval.index import build_index

DIMENSIONS = 32  # principal ones, in which neighbours are looked for
NEIGHBOURS = 15
LEAF_SHARE, CANDIDATES = 16, 64  # of the index that finds them
# Steps, and how much stronger neighbours pull than they should: first to gather, then to spread.
PHASES = ((80, 12.0), (200, 1.0))
MOMENTUM = 0.8
CELL = 0.7  # grid cells are so wide, in units of the layout, in which the push falls off over about 1
CELLS = (8, 250), (16, 700)  # a side, at least and at most: so many times the root of the articles, up to so many
LONGEST_STEP = 5.0  # units: nobody is thrown out


def layout(vectors: Float32, seed: int = 0) -> Float32:
    """``[n, 2]`` places of ``vectors`` (``[n, d]``, no row zero): the same every time for one seed."""
    n = len(vectors)
    principal = _principal(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
    # A little noise, so that equals do not stay on one spot.
    places = np.random.default_rng(seed).normal(scale=1e-4, size=(n, 2))
    places[:, : principal.shape[1]] += principal[:, :2] / max(float(principal[:, 0].std()), 1e-9)
    if n < 4:
        return places.astype(np.float32)
    attraction = _affinities(principal)
    rate, speed = 4 * n / PHASES[0][1], np.zeros_like(places)
    for steps, exaggeration in PHASES:
        for _ in range(steps):
            force = exaggeration * _pull(attraction, places) - _push(places)
            speed = MOMENTUM * speed - rate * force
            length = np.linalg.norm(speed, axis=1, keepdims=True)
            speed *= np.minimum(1.0, LONGEST_STEP / np.maximum(length, 1e-12))
            places = places + speed
            places -= places.mean(axis=0)
    return places.astype(np.float32)


def _principal(units: Float32) -> Float32:
    """``[n, at most DIMENSIONS]`` along the directions in which they differ most, the first one first."""
    centred = units - units.mean(axis=0)
    _, directions = np.linalg.eigh((centred.T @ centred).astype(np.float64))
    directions = directions[:, ::-1][:, :DIMENSIONS]
    # An eigenvector may point either way: the way of its largest entry, for the same map on every machine.
    directions = directions * np.sign(directions[np.abs(directions).argmax(axis=0), np.arange(directions.shape[1])])
    return (centred @ directions).astype(np.float32)


def _affinities(principal: Float32) -> sparse.csr_array:
    """Each article and its nearest, made symmetric, adding up to 1. All neighbours count the same."""
    n, k = len(principal), min(NEIGHBOURS, len(principal) - 1)
    units = principal / np.maximum(np.linalg.norm(principal, axis=1, keepdims=True), 1e-9)
    units[np.linalg.norm(units, axis=1) < 0.5, 0] = 1  # the very middle has no direction, and an index wants one
    # A neighbour missed here and there changes no map: far fewer leaves and candidates than a recommendation gets.
    index = build_index(units, leaves_to_search=max(1, round(n**0.5 / LEAF_SHARE)), reorder=CANDIDATES)
    found, _ = index.search(units, k + 1)
    row, column = np.repeat(np.arange(n), k + 1), found.ravel()
    other = (column >= 0) & (column != row)
    row, column = row[other], column[other]
    near = sparse.csr_array((np.full(len(row), 1 / k, np.float32), (row, column)), shape=(n, n))
    both = sparse.csr_array((near + near.T) / (2 * n))
    both.sort_indices()
    return both


def _pull(attraction: sparse.csr_array, places: Float64) -> Float64:
    """``[n, 2]`` how strongly neighbours draw each away from where it is (against the direction of the step)."""
    narrow = places.astype(np.float32)
    row = np.repeat(np.arange(len(places)), np.diff(attraction.indptr))
    apart = narrow[row] - narrow[attraction.indices]
    weight = attraction.data / (1 + np.vecdot(apart, apart))
    return np.stack(
        [np.bincount(row, weights=weight * apart[:, axis], minlength=len(places)) for axis in (0, 1)], axis=1
    )


def _push(places: Float64) -> Float64:
    """``[n, 2]`` how strongly all others drive each away: their sums on a grid, read between its points."""
    low = places.min(axis=0)
    extent = float((places.max(axis=0) - low).max())
    fewest, most = (min(times * len(places) ** 0.5, up_to) for times, up_to in CELLS)
    side = int(np.clip(extent / CELL, fewest, most)) + 3
    cell = max(extent, 1e-9) / (side - 3)
    at = (places - low) / cell
    corner = at.astype(np.int64)
    part = at - corner
    # Each place is shared out among the four grid points around it.
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
    total = float(read(ones * narrow).sum()) - len(places)  # without everybody's push on themselves
    crowd = read(ones * wide)
    drift = np.stack([read(spread(at[:, axis]) * wide) for axis in (0, 1)], axis=1)
    return (at * crowd[:, None] - drift) * cell / max(total, 1e-9)
