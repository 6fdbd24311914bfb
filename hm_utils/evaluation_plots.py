"""The figures of the evaluation (notebook 04): tables in, a figure out, in the style of :mod:`hm_utils.plots`."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from hm_utils.plots import (
    INK,
    MAIN,
    OTHER,
    QUIET,
    WIDTH,
    styled,
    text_colour,
)


@styled
def comparison(
    table: pd.DataFrame,
    metrics: Sequence[str] = ("MAP@12", "recall@12", "recall@100"),
    highlight: Sequence[str] = ("two-tower",),
) -> Figure:
    """Rankings beside each other, one panel a metric, with 95 % intervals.

    Args:
        table: ``evaluation.Evaluation.table()``: a row a ranking, columns ``(metric, "mean" | "low" | "high")``.
        metrics: those shown.
        highlight: rankings in the main colour (a name that starts with one of these); the rest are grey.
    """
    names = list(table.index)
    rows = np.arange(len(names))[::-1]
    colours = [MAIN if any(str(name).startswith(word) for word in highlight) else QUIET for name in names]
    figure, panels = plt.subplots(
        1, len(metrics), sharey=True, figsize=(WIDTH + 1, 1.2 + 0.36 * len(names)), squeeze=False
    )
    for axes, metric in zip(panels[0], metrics, strict=True):
        mean, low, high = (table[(metric, part)].to_numpy(dtype=float) for part in ("mean", "low", "high"))
        axes.hlines(rows, low, high, color=colours, linewidth=3, alpha=0.6)
        axes.scatter(mean, rows, color=colours, s=36, zorder=3)
        span = np.nanmax(high)
        for place, row, colour in zip(high, rows, colours, strict=True):
            value = mean[len(names) - 1 - row]
            axes.text(place + span * 0.03, row, f"{value:.4f}", va="center", fontsize=8.5, color=text_colour(colour))
        axes.set_title(metric)
        axes.set_xlim(0, span * 1.28)
        axes.set_ylim(-0.7, len(names) - 0.3)
        axes.grid(axis="y", visible=False)
        axes.xaxis.set_major_locator(MaxNLocator(4))
    panels[0][0].set_yticks(rows, [str(name) for name in names])
    figure.supxlabel("mean over customers, with its 95 % bootstrap interval", fontsize=9.5)
    return figure


@styled
def gain_by_slice(gains: pd.DataFrame, difference: str, metrics: Sequence[str] = ("MAP@12", "recall@100")) -> Figure:
    """What a ranking gains over another, for everyone and for each slice, with 95 % intervals.

    Args:
        gains: ``evaluation.Evaluation.gain_by_slice(...)``: a row a slice, columns ``("customers", "n")`` and
            ``(metric, "mean" | "low" | "high")``; slices without customers are left out,
            those without an interval are a grey dot.
        difference: what is subtracted from what, for the axis, such as "two-tower − popularity".
        metrics: those shown, a panel each.
    """
    shown = gains[gains[("customers", "n")] > 0]
    rows = np.arange(len(shown))[::-1]
    figure, panels = plt.subplots(
        1, len(metrics), sharey=True, figsize=(WIDTH + 1, 1.2 + 0.3 * len(shown)), squeeze=False
    )
    for axes, metric in zip(panels[0], metrics, strict=True):
        mean, low, high = (shown[(metric, part)].to_numpy(dtype=float) for part in ("mean", "low", "high"))
        colours = np.select([low > 0, high < 0], [MAIN, OTHER], QUIET)
        axes.axvline(0, color=INK, linewidth=1)
        axes.hlines(rows, low, high, color=colours, linewidth=3, alpha=0.6)
        axes.scatter(mean, rows, color=colours, s=36, zorder=3)
        axes.set_title(metric)
        axes.set_ylim(-0.7, len(shown) - 0.3)
        axes.margins(x=0.08)
        axes.grid(axis="y", visible=False)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:+.3g}" if value else "0")
    customers = shown[("customers", "n")]
    panels[0][0].set_yticks(rows, [f"{name} ({n:,})" for name, n in customers.items()])
    figure.supxlabel(
        f"{difference}, with its 95 % bootstrap interval (blue: above 0, orange: below, grey: not sure)", fontsize=9.5
    )
    figure.supylabel("slice (customers)", fontsize=9.5)
    return figure


@styled
def recall_against_leaves(table: pd.DataFrame, chosen: int | None = None) -> Figure:
    """ScaNN's agreement with exact search, and its time, against the number of leaves searched.

    Args:
        table: columns ``leaves``, ``recall`` (share of exact search's list found) and, if measured,
            ``microseconds`` a query.
        chosen: the number of leaves that is served; marked.
    """
    timed = "microseconds" in table
    figure, panels = plt.subplots(1, 1 + timed, figsize=(WIDTH, 3.2), squeeze=False)
    parts = [("recall", "Recall against exact search", "found of exact search's list")]
    if timed:
        parts.append(("microseconds", "Time of a query", "microseconds a query"))
    for axes, (column, title, label) in zip(panels[0], parts, strict=True):
        axes.plot(table["leaves"], table[column], color=MAIN, marker="o", markersize=4)
        axes.set(title=title, xlabel="leaves searched (log scale)", ylabel=label, xscale="log")
        doublings = 2 ** np.arange(int(np.log2(table["leaves"].max())) + 1)
        axes.set_xticks(doublings, [f"{leaves:,}" for leaves in doublings])
        axes.minorticks_off()
        if chosen is not None and (table["leaves"] == chosen).any():
            value = table.loc[table["leaves"] == chosen, column].iloc[0]
            axes.plot(chosen, value, "o", color=OTHER, markersize=9)
            axes.set_title(f"{title}: {value:.4g}")
        axes.margins(0.08, 0.1)
    if chosen is not None:
        figure.supxlabel(f"orange, and the number above: {chosen:,} leaves, as served", fontsize=9, color=OTHER)
    return figure
