"""Confidence intervals: percentile bootstraps over customers (Efron & Tibshirani 1993)."""

from __future__ import annotations

import numpy as np

from hm_utils.arrays import Float64

RESAMPLES = 1_000
LEVEL = 0.95
MIN_CUSTOMERS = 30  # fewer customers give too narrow an interval; a single one gives an interval of width 0


def resampled_means(values: Float64, seed: int, times: int = RESAMPLES) -> Float64:
    """``[times, ...]`` means of ``values`` (``[n, ...]``) over n rows drawn with replacement, ``times`` times.

    The draws depend only on n and the seed, so all columns are resampled together. Equal columns get equal means: a
    matrix product rounds a column by its place, so each column is there once.
    """
    n = len(values)
    rng = np.random.default_rng(seed)
    flat, place = np.unique(values.reshape(n, -1), axis=1, return_inverse=True)
    means = np.empty((times, flat.shape[1]))
    step = max(1, 4_000_000 // n)  # resamples at a time: about 100 MB
    for low in range(0, times, step):
        m = min(step, times - low)
        drawn = rng.integers(n, size=(m, n), dtype=np.int32)
        # The number of draws of each row is enough: the mean is then a matrix product.
        drawn += np.arange(m, dtype=np.int32)[:, None] * n
        counts = np.bincount(drawn.ravel(), minlength=m * n).reshape(m, n)
        means[low : low + m] = counts.astype(np.float64) @ flat / n
    return means[:, place].reshape(times, *values.shape[1:])


def interval(resampled: Float64) -> Float64:
    """``[2, ...]`` lower and upper end of the :data:`LEVEL` interval of ``resampled`` (``[times, ...]``)."""
    return np.quantile(resampled, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
