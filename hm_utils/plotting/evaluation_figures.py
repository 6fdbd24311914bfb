"""The figures of the evaluation (notebook 04): tables in, a figure out, in the style of :mod:`.style`."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, PercentFormatter

from hm_utils.plotting.style import (
    GROUPS,
    INK,
    MAIN,
    OTHER,
    QUIET,
    QUIET_INK,
    THIRD,
    WIDTH,
    canvas,
    dumbbell,
    label_ends,
    nothing,
    percent,
    short,
    styled,
    text_colour,
)


def colour_of(ranking: str, best_rival: str | None = None) -> str:
    """The colour of a ranking in every figure: the models', the ceiling's, the best baseline's, the others'."""
    if ranking.startswith("two-tower"):
        return MAIN
    return THIRD if ranking == "oracle" else OTHER if ranking == best_rival else QUIET


@styled
def comparison(
    table: pd.DataFrame,
    metrics: Sequence[str] = ("MAP@12", "recall@12", "recall@100"),
    best_rival: str | None = None,
) -> Figure:
    """Rankings beside each other, one panel a metric, with 95 % intervals.

    Args:
        table: ``evaluation.Evaluation.table()``: a row a ranking, columns ``(metric, "mean" | "low" | "high")``.
        metrics: those shown.
        best_rival: the best baseline, in the colour of what is compared with; the other baselines are grey.
    """
    names = list(table.index)
    rows = np.arange(len(names))[::-1]
    colours = [colour_of(str(name), best_rival) for name in names]
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
        table: ``search_curve.search_curve(...)``.
        chosen: the number of leaves that is served; marked.
    """
    figure, panels = plt.subplots(1, 2, figsize=(WIDTH, 3.3))
    parts = {
        "recall": ("Recall against exact search", "found of exact search's list"),
        "microseconds": ("Time of a query", "microseconds a query (log scale)"),
    }
    for axes, (column, (title, label)) in zip(panels, parts.items(), strict=True):
        axes.plot(table["leaves"], table[column], color=MAIN, marker="o", markersize=4)
        axes.set(title=title, xlabel="leaves searched (log scale)", ylabel=label, xscale="log")
        doublings = 2 ** np.arange(int(np.log2(table["leaves"].max())) + 1)
        axes.set_xticks(doublings, [f"{leaves:,}" for leaves in doublings])
        axes.minorticks_off()
        if chosen is not None and (table["leaves"] == chosen).any():
            value = table.loc[table["leaves"] == chosen, column].iloc[0]
            axes.plot(chosen, value, "o", color=OTHER, markersize=9)
            axes.set_title(f"{title}: {value:.4g}")
        axes.margins(0.08, 0.12)
    panels[0].axhline(0.99, color=QUIET, linewidth=1)
    panels[0].annotate("99 %", (1, 0.99), (0, -11), textcoords="offset points", color=QUIET_INK)
    if exact := table.attrs.get("exact"):
        panels[1].axhline(exact, color=THIRD, linewidth=1.4)
        panels[1].annotate(
            f"exact search: {exact:,.0f}", (1, exact), (0, 4), textcoords="offset points", color=THIRD
        )  # fmt: skip
    panels[1].set_yscale("log")
    panels[1].yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    panels[1].yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    panels[1].yaxis.set_minor_formatter(NullFormatter())
    if chosen is not None:
        figure.supxlabel(f"orange, and the number above: {chosen:,} leaves, as served", fontsize=9, color=OTHER)
    return figure


@styled
def recall_by_depth(curves: pd.DataFrame, best_rival: str | None = None) -> Figure:
    """Recall against the length of the list (``error_analysis.recall_by_depth``), a line a ranking."""
    figure, axes = canvas("What a longer list finds", "articles shown, k", "recall@k", height=4.6)
    colours = [colour_of(str(name), best_rival) for name in curves]
    for name, colour in zip(curves, colours, strict=True):
        line = "--" if name == "two-tower" else "-"
        axes.plot(curves.index, curves[name], color=colour, linestyle=line, linewidth=1 if colour == QUIET else 1.8)
    axes.set_xlim(1, curves.index[-1])
    axes.set_ylim(0, curves.to_numpy().max() * 1.05)
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    figure.draw_without_rendering()  # the labels need to know how high the axes are
    label_ends(axes, curves.index[-1], curves.iloc[-1].to_numpy(), [short(name, 34) for name in curves], colours)
    return figure


@styled
def recall_by_band(by_history: pd.DataFrame, by_age: pd.DataFrame, best_rival: str) -> Figure:
    """Recall@100 by the customer's history and by the article's age (``error_analysis``), a line a ranking."""
    figure, panels = plt.subplots(1, 2, figsize=(WIDTH + 1, 3.6), sharey=True)
    titles = ("By what the customer bought before", "By the age of the article")
    xs = ("purchases before the test days (customers)", "days since its first sale (purchases)")
    for axes, table, title, x in zip(panels, (by_history, by_age), titles, xs, strict=True):
        counts, names = table.iloc[:, 0], list(table.columns[1:])
        colours = [colour_of(name, best_rival) for name in names]
        for name, colour in zip(names, colours, strict=True):
            line = "--" if name == "two-tower" else "-"
            axes.plot(range(len(table)), table[name], color=colour, marker="o", markersize=5, linestyle=line)
        labels = [f"{label}\n({count:,})" for label, count in zip(table.index, counts, strict=True)]
        axes.set_xticks(range(len(table)), labels, fontsize=8)
        axes.set(title=title, xlabel=x)
        axes.grid(axis="x", visible=False)
        axes.margins(x=0.08)
        axes.yaxis.set_major_formatter(PercentFormatter(1))
    panels[0].set_ylabel("recall@100")
    panels[0].set_ylim(bottom=0)
    figure.draw_without_rendering()  # the labels need to know how high the axes are
    ends = [float(by_age[name].iloc[-1]) for name in names]
    label_ends(panels[1], len(by_age) - 1, np.array(ends), [short(name, 24) for name in names], colours)
    return figure


@styled
def reliability(curves: pd.DataFrame) -> Figure:
    """Predicted probability against observed frequency (``reliability.reliability``); on the line is right."""
    figure, axes = canvas(
        "Is the score a probability?",
        "predicted probability of an article (log scale)",
        "observed frequency (log scale)",
        height=4.4,
    )
    if curves.empty:
        return nothing(figure, axes, "there are too few purchases to count frequencies")
    low, high = (curves[["predicted", "observed"]].to_numpy().min(), curves[["predicted", "observed"]].to_numpy().max())
    axes.plot([low, high], [low, high], color=QUIET, linewidth=1.2)
    axes.annotate("right", (high, high), (-4, 4), textcoords="offset points", color=QUIET_INK, ha="right")
    colours = (QUIET_INK, MAIN)
    for place, ((name, part), colour) in enumerate(zip(curves.groupby("curve", sort=False), colours, strict=False)):
        axes.plot(part["predicted"], part["observed"], color=colour, marker="o", markersize=5)
        axes.text(0.02, 0.93 - 0.07 * place, str(name), transform=axes.transAxes, color=colour)
    axes.set(xscale="log", yscale="log")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(_odds))
        axis.set_minor_formatter(NullFormatter())
    return figure


@styled
def reasons(shares: pd.DataFrame) -> Figure:
    """What is true of purchases that a list missed, and of those that it found (``error_analysis.Reasons``)."""
    return dumbbell(shares, "What is true of purchases", "of the purchases", labels=("missed", "found"), width=60)


@styled
def embedding_pca(places: pd.DataFrame) -> Figure:
    """Articles on the two principal axes of their tastes (``embedding_pca.embedding_pca``), coloured by group."""
    figure, axes = canvas(
        "The map of the articles on sale", "first principal axis", "second principal axis", height=5.6
    )
    names = places["group"].value_counts().index[: len(GROUPS)]
    for name, colour in zip(names, GROUPS, strict=False):
        part = places[places["group"] == name]
        axes.plot(
            part["x"],
            part["y"],
            ".",
            color=colour,
            markersize=6 if len(places) < 1_500 else 4,
            alpha=0.5,
            markeredgewidth=0,
        )
    for name, colour in zip(names, GROUPS, strict=False):
        part = places[places["group"] == name]
        axes.text(
            part["x"].median(), part["y"].median(), str(name), color=colour, weight="bold", ha="center", va="center",
            bbox={"boxstyle": "round,pad=0.25", "facecolor": "white", "edgecolor": colour, "alpha": 0.85},
        )  # fmt: skip
    axes.set_xticks([])
    axes.set_yticks([])
    return figure


def _odds(value: float, _: object) -> str:
    return percent(value) if value >= 0.001 else f"1 in {1 / value:,.0f}"
