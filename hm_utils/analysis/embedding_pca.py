"""A map of the articles (notebook 04): their embeddings, projected to two dimensions."""

from __future__ import annotations

import numpy as np
import pandas as pd

from hm_utils.analysis.data_tables import filled
from hm_utils.arrays import Int64
from hm_utils.evaluation.baselines import on_sale
from hm_utils.model.snapshot import Snapshot

MOST_ARTICLES = 3_000


def embedding_pca(snapshot: Snapshot, groups: pd.Series, seed: int = 0) -> pd.DataFrame:
    """Embeddings on their two principal axes, for up to 3,000 articles sold in the last four weeks.

    Args:
        groups: ``[n_articles]`` the group of every article.

    Returns:
        Columns ``x``, ``y``, ``group``, one row per article. Attribute ``shown`` is the share of the variance that
        the two axes hold.
    """
    rows = _some_on_sale(snapshot, seed)
    embeddings = snapshot.article_vectors[rows].astype(np.float64)
    centred = embeddings - embeddings.mean(axis=0)
    variance, axes = np.linalg.eigh(centred.T @ centred)
    places = centred @ axes[:, -2:][:, ::-1]
    frame = pd.DataFrame({"x": places[:, 0], "y": places[:, 1], "group": filled(groups).to_numpy()[rows]})
    frame.attrs["shown"] = float(variance[-2:].sum() / max(variance.sum(), 1e-12))
    return frame


def neighbour_agreement(snapshot: Snapshot, groups: pd.Series, k: int = 10, seed: int = 0) -> tuple[float, float]:
    """How often an article on sale shares its group with its k nearest by embedding, and with a random article."""
    rows = _some_on_sale(snapshot, seed)
    embeddings = snapshot.article_vectors[rows]
    codes = pd.factorize(filled(groups).to_numpy()[rows])[0]
    cosines = embeddings @ embeddings.T
    np.fill_diagonal(cosines, -np.inf)
    near = np.argpartition(-cosines, min(k, len(rows) - 1) - 1, axis=1)[:, :k]
    share = np.bincount(codes) / len(codes)
    return float((codes[near] == codes[:, None]).mean()), float(np.square(share).sum())


def _some_on_sale(snapshot: Snapshot, seed: int) -> Int64:
    """Rows of the articles on sale, ascending; a random :data:`MOST_ARTICLES` of them if there are more."""
    rows = np.flatnonzero(on_sale(snapshot.log, snapshot.as_of))
    if len(rows) > MOST_ARTICLES:
        rows = np.sort(np.random.default_rng(seed).choice(rows, MOST_ARTICLES, replace=False))
    return rows
