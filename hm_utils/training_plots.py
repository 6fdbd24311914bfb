"""The figures of training (notebook 03): tables in, a figure out, in the style of :mod:`hm_utils.plots`."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from hm_utils.plots import MAIN, OTHER, QUIET, WIDTH, canvas, share_bars, styled


@styled
def learning_curves(history: pd.DataFrame, best_epoch: int | None = None) -> Figure:
    """The training loss, and each validation metric, by epoch.

    Args:
        history: columns ``epoch``, ``train_loss`` and one or more metrics, a row an epoch.
        best_epoch: marked, if given.
    """
    extra = {"epoch", "examples_per_second", "seconds"}
    curves = [name for name in map(str, history) if name not in extra and pd.api.types.is_numeric_dtype(history[name])]
    columns = 2 if len(curves) in (2, 4) else min(len(curves), 3)
    rows = -(-len(curves) // columns)
    figure, grid = plt.subplots(rows, columns, figsize=(WIDTH, 2.7 * rows), squeeze=False)
    for axes, name in zip(grid.flat, curves, strict=False):
        title = name.replace("_", " ")
        axes.plot(history["epoch"], history[name], color=QUIET if "loss" in name else MAIN, marker="o", markersize=4)
        if best_epoch is not None and (history["epoch"] == best_epoch).any():
            best = history.loc[history["epoch"] == best_epoch, name].iloc[0]
            axes.plot(best_epoch, best, "o", color=OTHER, markersize=8)
            title = f"{title}: {best:.4g}"
        axes.set(title=title, xlabel="epoch", xlim=(0.5, history["epoch"].max() + 0.5))
        axes.margins(y=0.1)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    for axes in grid.flat[len(curves) :]:
        axes.set_axis_off()
    if best_epoch is not None:
        figure.supxlabel(
            f"orange, and the number above: epoch {best_epoch}, whose weights are kept", fontsize=9, color=OTHER
        )
    return figure


@styled
def recency_weights(weights: pd.Series) -> Figure:
    """The share of the history's pool by age of the purchase (``inspection.recency_weights``)."""
    figure, axes = canvas("How much a purchase counts, by its age", "age of the purchase", "share of the pool")
    share_bars(axes, [str(age) for age in weights.index], weights.to_numpy())
    axes.tick_params(axis="x", rotation=60)
    return figure
