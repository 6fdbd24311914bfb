"""Figures of training (notebook 03). Each takes a table and returns a figure."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, PercentFormatter

from hm_utils.plotting.style import (
    INK,
    MAIN,
    OTHER,
    QUIET,
    QUIET_INK,
    WIDTH,
    canvas,
    log_ticks,
    mark,
    note,
    nothing,
    percent,
    share_bars,
    styled,
    thousands,
    whole_numbers,
)
from hm_utils.training.loop import EPOCHS_AVERAGED


@styled
def learning_curves(history: pd.DataFrame, best_epoch: int) -> Figure:
    """The training loss and the validation metrics by epoch, and the mean of recall@100 that chooses the epoch.

    Args:
        history: one row per epoch, columns ``epoch``, ``train_loss``, and ``MAP@12`` or ``recall@100``.
        best_epoch: the marked epoch.
    """
    curves = [name for name in map(str, history) if name in ("train_loss", "MAP@12", "recall@100")]
    columns = 2 if len(curves) in (2, 4) else min(len(curves), 3)
    rows = -(-len(curves) // columns)
    figure, grid = plt.subplots(rows, columns, figsize=(WIDTH, 2.7 * rows), squeeze=False)
    for axes, name in zip(grid.flat, curves, strict=False):
        best = history.set_index("epoch")[name][best_epoch]
        axes.plot(history["epoch"], history[name], color=QUIET if "loss" in name else MAIN, marker="o", markersize=4)
        axes.plot(best_epoch, best, "o", color=OTHER, markersize=8)
        if name == "recall@100":
            mean = history[name].rolling(EPOCHS_AVERAGED, min_periods=1).mean()
            axes.plot(history["epoch"], mean, color=INK, linestyle=":", linewidth=1.4)
            axes.text(
                0.98, 0.06, f"dotted: mean of {EPOCHS_AVERAGED}", transform=axes.transAxes, ha="right", fontsize=9
            )
        title = f"{name.replace('_', ' ')}: {best:.4g}"
        axes.set(title=title, xlabel="epoch", xlim=(0.5, history["epoch"].max() + 0.5))
        axes.margins(y=0.1)
        whole_numbers(axes.xaxis)
    for axes in grid.flat[len(curves) :]:
        axes.set_axis_off()
    words = f"orange, and the number above: epoch {best_epoch}, whose weights are kept"
    figure.supxlabel(words, fontsize=9, color=OTHER)
    return figure


@styled
def recency_weights(weights: pd.Series) -> Figure:
    """Pooling weights by age of the purchase (``training_tables.recency_weights``)."""
    figure, axes = canvas("How much a purchase counts, by its age", "age of the purchase", "share of the pool")
    share_bars(axes, [str(age) for age in weights.index], weights.to_numpy())
    axes.tick_params(axis="x", rotation=60)
    return figure


@styled
def popularity_learned(shares: pd.DataFrame) -> Figure:
    """Popularity learned by in-batch softmax, with and without logQ (``logq_experiment.popularity_learned``)."""
    figure, axes = canvas(
        "A model of popularity alone: what it says of each article",
        "article, by rank of its sales (log scale)",
        "share of purchases (log scale)",
        height=3.9,
    )
    true, *learned = shares.columns
    axes.plot(shares.index, shares[true], color=INK, linewidth=1.4)
    colours = dict(zip(learned, (MAIN, OTHER), strict=True))
    for name, colour in colours.items():
        axes.plot(shares.index, shares[name], "o", color=colour, markersize=4, alpha=0.75)
    axes.set(xscale="log", yscale="log")
    axes.set_xlim(0.9, len(shares) * 1.1)
    log_ticks(axes.yaxis, percent)
    axes.xaxis.set_major_formatter(thousands())
    axes.xaxis.set_minor_formatter(NullFormatter())
    for place, (name, colour) in enumerate({true: INK, **colours}.items()):
        axes.text(0.99, 0.94 - 0.08 * place, name, transform=axes.transAxes, ha="right", color=colour)
    return figure


@styled
def vector_health(numbers: pd.DataFrame, best_epoch: int) -> Figure:
    """Alignment, uniformity, rank and gradients by epoch (``vector_health.by_epoch``), one panel each."""
    kinds = list(dict.fromkeys(str(name).split(",")[0] for name in numbers))
    titles = {
        "distance": "squared distance, customer to article",
        "gradient": "length of the gradient (log scale)",
    }
    figure, grid = plt.subplots(-(-len(kinds) // 2), 2, figsize=(WIDTH, 2.6 * -(-len(kinds) // 2)), squeeze=False)
    for axes, kind in zip(grid.flat, kinds, strict=False):
        columns = [name for name in numbers if str(name).split(",")[0] == kind]
        colours = (MAIN, OTHER) if len(columns) > 1 else (MAIN,)
        for name, colour in zip(columns, colours, strict=True):
            axes.plot(numbers.index, numbers[name], color=colour, marker="o", markersize=4)
            if len(columns) > 1:
                end = (numbers.index[-1], numbers[name].iloc[-1])
                falls = numbers[name].iloc[-1] < numbers[name].iloc[-2:].mean()  # the curve comes from above
                note(axes, str(name).split(", ")[1], end, (-4, -14 if falls else 6), colour, ha="right")
        axes.set(title=titles.get(kind, kind), xlabel="epoch", xlim=(0.5, numbers.index.max() + 0.5))
        if kind == "gradient" and (numbers[columns] > 0).any(axis=None):
            axes.set_yscale("log")
            log_ticks(axes.yaxis, "{:g}".format)
        axes.margins(y=0.15)
        whole_numbers(axes.xaxis)
        axes.axvline(best_epoch, color=QUIET, linewidth=1)
    for axes in grid.flat[len(kinds) :]:
        axes.set_axis_off()
    figure.supxlabel(f"grey line: epoch {best_epoch}, whose weights are kept", fontsize=9, color=QUIET_INK)
    return figure


@styled
def dimensions_and_norms(variance: npt.NDArray, norms: pd.DataFrame) -> Figure:
    """Cumulative variance of the embeddings (``vector_health.spectrum``), and the lengths of the ids' embeddings
    (``vector_health.identity_norms``)."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, 3.2))
    total = np.cumsum(variance)
    if not total[-1] > 0.5:
        right.remove()
        return nothing(figure, left, "all embeddings are equal")
    left.plot(np.arange(1, len(total) + 1), total, color=MAIN)
    left.set(
        title="Variance of the embeddings", xlabel="principal axes, largest first", ylabel="of the variance, so far"
    )
    for level in (0.5, 0.9, 0.99):
        axis = int(np.searchsorted(total, level)) + 1
        mark(left, axis, total[axis - 1], f"{level:.0%} in {axis}", (7, -10))
    left.set_ylim(0, 1.03)
    left.yaxis.set_major_formatter(PercentFormatter(1))
    right.bar(range(len(norms)), norms["norm"], color=MAIN, width=0.7)
    right.set_xticks(range(len(norms)), [str(decade).replace("–", "–\n") for decade in norms.index])
    right.axhline(norms.attrs["start"], color=OTHER, linewidth=1.4)
    right.set_xlim(-0.5, len(norms) + 0.3)  # leaves room for words beside the bars
    note(right, "at the\nstart", (len(norms) - 0.45, norms.attrs["start"]), (0, 4), OTHER)
    right.set_ylim(0, max(norms["norm"].max(), norms.attrs["start"]) * 1.15)
    right.set(title="Length of an id's embedding", xlabel="purchases in the training examples", ylabel="median length")
    right.tick_params(axis="x", labelsize=8)
    right.grid(axis="x", visible=False)
    return figure
