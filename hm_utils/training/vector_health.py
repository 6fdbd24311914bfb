"""The health of the vectors: alignment, uniformity, rank, norms and gradients on one batch, after every epoch.

A retrieval model can fail while its loss looks fine: all vectors collapse to a corner of the sphere, or to a few of
its dimensions, or one tower stops learning. Alignment and uniformity: Wang & Isola, "Understanding contrastive
representation learning through alignment and uniformity on the hypersphere", ICML 2020. Effective rank: Roy &
Vetterli, EUSIPCO 2007.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from hm_utils.data.features import FIRST_CODE
from hm_utils.data.preprocessing import TrainingData
from hm_utils.model.towers import TwoTower
from hm_utils.training.batches import Batch, BatchMaker
from hm_utils.training.loop import TrainingInputs, batch_loss, encode_batch

Float = npt.NDArray[np.floating]

PREFIX = "health: "  # sets these numbers apart from the metrics in a training history
START = 0.05  # standard deviation of an embedding's coordinates before training (towers.Embeddings)
PROBE = 1_024  # examples of the probe batch
TEMPERATURE = 2.0  # of uniformity, as in the paper; evenly spread vectors in many dimensions have -4


def probe_batch(batches: BatchMaker, seed: int = 0) -> Batch:
    """The latest training examples: the same in every epoch, so that epochs can be compared."""
    n = len(batches.examples)
    return batches.make(np.arange(max(0, n - PROBE), n), np.random.default_rng(seed))


def watch(
    validate: Callable[[TwoTower], dict[str, float]], batch: Batch, inputs: TrainingInputs
) -> Callable[[TwoTower], dict[str, float]]:
    """The same validation, which also returns the health of the vectors."""
    return lambda model: validate(model) | health(model, batch, inputs)


def health(model: TwoTower, batch: Batch, inputs: TrainingInputs) -> dict[str, float]:
    """The health of one model on one batch, by name with :data:`PREFIX`.

    "distance, bought" is the alignment. "distance, any other" is the distance to another customer's purchase.
    """
    users, items = encode(model, batch, inputs)
    numbers = {
        "distance, bought": alignment(users, items[batch.positives]),
        "distance, any other": alignment(users, items[batch.positives[::-1]]),
        "uniformity, articles": uniformity(items),
        "uniformity, customers": uniformity(users),
        "effective rank of embeddings": effective_rank(items),
        **{f"gradient, {part}": norm for part, norm in gradient_norms(model, batch, inputs).items()},
    }
    return {PREFIX + name: value for name, value in numbers.items()}


@torch.inference_mode()
def encode(model: TwoTower, batch: Batch, inputs: TrainingInputs) -> tuple[Float, Float]:
    """:func:`encode_batch` as arrays: ``users [n, d]`` and ``items [u, d]``."""
    users, items = encode_batch(model, batch, inputs, str(model.log_scale.device))
    return users.cpu().numpy(), items.cpu().numpy()


def alignment(one: Float, other: Float) -> float:
    """Mean squared distance of pairs of unit vectors (``[n, d]`` each): 0 if equal, 2 at a right angle.

    Smaller is better, as long as uniformity holds.
    """
    return float(np.square(one - other).sum(axis=1).mean())


def uniformity(vectors: Float) -> float:
    """Log of the mean of exp(-2 x squared distance) over all pairs of ``[n, d]`` unit vectors.

    It is 0 if all are equal and about -4 if they are spread evenly. Smaller is better, as long as alignment holds.
    """
    squared = np.maximum(2 - 2 * (vectors @ vectors.T), 0)
    pairs = squared[np.triu_indices(len(vectors), k=1)]
    return float(np.log(np.exp(-TEMPERATURE * pairs.astype(np.float64)).mean())) if len(pairs) else 0.0


def effective_rank(vectors: Float) -> float:
    """The number of dimensions that ``[n, d]`` vectors use: exp of the entropy of the normalised singular values."""
    share = spectrum(vectors) ** 0.5
    share = share / max(share.sum(), 1e-12)
    return float(np.exp(-(share * np.log(np.maximum(share, 1e-12))).sum()))


def spectrum(vectors: Float) -> npt.NDArray[np.float64]:
    """``[d]`` the share of the variance along each principal axis, falling."""
    centred = vectors.astype(np.float64) - vectors.mean(axis=0, dtype=np.float64)
    variance = np.maximum(np.linalg.eigvalsh(centred.T @ centred)[::-1], 0)
    return variance / max(variance.sum(), 1e-12)


def gradient_norms(model: TwoTower, batch: Batch, inputs: TrainingInputs) -> dict[str, float]:
    """The norm of the loss's gradient by tower; the model stays unchanged."""
    batch_loss(model, batch, inputs, str(model.log_scale.device)).backward()
    norms = {}
    for name, tower in (("item tower", model.item_tower), ("user tower", model.user_tower)):
        gradients = [
            p.grad.coalesce().values() if p.grad.is_sparse else p.grad for p in tower.parameters() if p.grad is not None
        ]
        norms[name] = float(torch.stack([gradient.norm() for gradient in gradients]).norm()) if gradients else 0.0
    model.zero_grad(set_to_none=True)
    return norms


def by_epoch(history: pd.DataFrame) -> pd.DataFrame:
    """The values of :func:`health` from a training history: index epoch, one column a name."""
    columns = [name for name in history if str(name).startswith(PREFIX)]
    return history.set_index("epoch")[columns].rename(columns=lambda name: name.removeprefix(PREFIX)).dropna(how="all")


def identity_norms(model: TwoTower, training: TrainingData) -> pd.DataFrame:
    """The norm of the id embeddings by the article's number of training examples.

    An embedding starts as noise and grows where it helps. Those of articles that hardly sell stay near their start:
    their vectors depend on the other features.

    Returns:
        A row a decade of purchases; columns ``articles`` and ``norm`` (the median); attribute ``start`` is the norm
        before training.

    Raises:
        ValueError: the item tower is one of another class, which may have no such embeddings.
    """
    if model.config.item_tower:
        raise ValueError(f"{model.config.item_tower} may have no embeddings of ids")
    codes = training.categories[:, 0]
    known = np.flatnonzero(codes >= FIRST_CODE)
    tables = [tower.id_embedding.table.weight.detach().numpy() for tower in model.item_tower.towers]
    norms = np.mean([np.linalg.norm(table[codes[known]], axis=1) for table in tables], axis=0)
    bought = np.bincount(training.examples.article, minlength=len(codes))[known]
    decade = np.where(bought > 0, np.floor(np.log10(np.maximum(bought, 1))), -1).astype(int)
    table = pd.DataFrame({"decade": decade, "norm": norms}).groupby("decade")["norm"].agg(["size", "median"])
    names = ["0" if place < 0 else f"{10**place:,}–{10 ** (place + 1) - 1:,}" for place in table.index]
    frame = pd.DataFrame({"articles": table["size"].to_numpy(), "norm": table["median"].to_numpy()}, index=names)
    frame.attrs["start"] = START * model.config.embedding_dim**0.5
    return frame
