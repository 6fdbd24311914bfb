"""Figures of the evaluation (notebook 04). Each takes a table and returns a figure."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter, PercentFormatter

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
    log_ticks,
    note,
    nothing,
    percent,
    short,
    styled,
)

METRICS = ("MAP@12", "recall@100")


def _colour_of(ranking: str, best_rival: str | None) -> str:
    """The colour of a ranking in every figure: models, upper bound, best baseline, other baselines."""
    if ranking.startswith("two-tower"):
        return MAIN
    return THIRD if ranking == "oracle" else OTHER if ranking == best_rival else QUIET


@styled
def comparison(table: pd.DataFrame, best_rival: str | None = None) -> Figure:
    """All rankings with 95 % intervals, one panel per metric, the best by MAP@12 on top.

    Args:
        table: ``comparison.Evaluation.table()``: one row per ranking, columns ``(metric, "mean" | "low" | "high")``.
        best_rival: the best baseline, which has a colour of its own; the other baselines are grey.
    """
    table = table.sort_values(("MAP@12", "mean"), ascending=False, kind="stable")
    names = [str(name) for name in table.index]
    colours = [_colour_of(name, best_rival) for name in names]
    figure, panels = plt.subplots(1, len(METRICS), sharey=True, figsize=(WIDTH + 1, 1.2 + 0.36 * len(names)))
    for axes, metric in zip(panels, METRICS, strict=True):
        mean, low, high = _bounds(table, metric)
        rows = _intervals(axes, metric, mean, low, high, colours)
        span = np.nanmax(high)
        for value, place, row, colour in zip(mean, high, rows, colours, strict=True):
            axes.text(place + span * 0.03, row, f"{value:.4f}", va="center", fontsize=8.5, color=colour)
        axes.set_xlim(0, max(span, 1e-6) * 1.28)
        axes.xaxis.set_major_locator(MaxNLocator(4))
    panels[0].set_yticks(rows, names)
    words = "mean over customers, with its 95 % interval (blue: the model, orange: the best baseline"
    figure.supxlabel(f"{words}{', green: the upper bound' if 'oracle' in names else ''})", fontsize=9.5)
    return figure


@styled
def gain_by_slice(gains: pd.DataFrame, difference: str) -> Figure:
    """The gain of one ranking over another, for everyone and for each slice, with 95 % intervals.

    Args:
        gains: ``comparison.Evaluation.gain_by_slice(...)``: one row per slice, columns ``("customers", "n")`` and
            ``(metric, "mean" | "low" | "high")``. A slice without customers is excluded, one without an interval is a
            grey dot.
        difference: the two rankings, for the axis, such as "two-tower − popularity".
    """
    shown = gains[gains[("customers", "n")] > 0]
    figure, panels = plt.subplots(1, len(METRICS), sharey=True, figsize=(WIDTH + 1, 1.2 + 0.3 * len(shown)))
    for axes, metric in zip(panels, METRICS, strict=True):
        mean, low, high = _bounds(shown, metric)
        axes.axvline(0, color=INK, linewidth=1)
        rows = _intervals(axes, metric, mean, low, high, np.select([low > 0, high < 0], [MAIN, OTHER], QUIET))
        axes.margins(x=0.08)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:+.3g}" if value else "0")
    customers = shown[("customers", "n")]
    panels[0].set_yticks(rows, [f"{name} ({n:,})" for name, n in customers.items()])
    figure.supxlabel(
        f"{difference}, with its 95 % bootstrap interval (blue: above 0, orange: below, grey: not sure)", fontsize=9.5
    )
    figure.supylabel("slice (customers)", fontsize=9.5)
    return figure


@styled
def recall_against_leaves(table: pd.DataFrame, chosen: int) -> Figure:
    """ScaNN's agreement with exact search, and its time, against the number of leaves searched.

    Args:
        table: ``index_tuning.search_curve(...)``.
        chosen: the number of leaves in service, one of the table's; marked.
    """
    figure, panels = plt.subplots(1, 2, figsize=(WIDTH, 3.3))
    parts = {
        "recall": ("Recall against exact search", "found of exact search's list"),
        "microseconds": ("Time of a query", "microseconds a query (log scale)"),
    }
    for axes, (column, (title, label)) in zip(panels, parts.items(), strict=True):
        axes.plot(table["leaves"], table[column], color=MAIN, marker="o", markersize=4)
        axes.set(title=title, xlabel="leaves searched (log scale)", ylabel=label, xscale="log")
        doublings = 2 ** np.arange(int(np.log2(table["leaves"].min())), int(np.log2(table["leaves"].max())) + 1)
        axes.set_xticks(doublings, [f"{leaves:,}" for leaves in doublings])
        axes.minorticks_off()
        value = table.set_index("leaves")[column][chosen]
        axes.plot(chosen, value, "o", color=OTHER, markersize=9)
        axes.set_title(f"{title}: {value:.4f}" if column == "recall" else f"{title}: {value:,.0f} µs")
        axes.margins(0.08, 0.12)
    panels[0].axhline(0.99, color=QUIET, linewidth=1)
    note(panels[0], "99 %", (table["leaves"].min(), 0.99), (0, -11), QUIET_INK)
    if exact := table.attrs.get("exact"):
        panels[1].axhline(exact, color=THIRD, linewidth=1.4)
        note(panels[1], f"exact search: {exact:,.0f} µs", (table["leaves"].min(), exact), (0, 4), THIRD)
    panels[1].set_yscale("log")
    log_ticks(panels[1].yaxis, "{:,.0f}".format)
    figure.supxlabel(f"orange, and the number above: {chosen:,} leaves, as served", fontsize=9, color=OTHER)
    return figure


@styled
def buying_again(odds: pd.DataFrame) -> Figure:
    """The odds of an article bought before, by the days since; from ``evaluation_tables.buying_again``."""
    title = "Bought before: how much likelier than another article"
    figure, axes = canvas(title, "days since the last purchase (dashed: the usual gap)", "times as likely")
    for name, style in zip(odds, ("-", "--", ":"), strict=True):
        axes.plot(odds.index, odds[name], color=MAIN, linestyle=style, label=str(name))
    axes.axvline(odds.attrs["gap"], color=QUIET, linestyle="--", linewidth=1)
    axes.axhline(1, color=QUIET, linewidth=1)
    axes.set(xscale="log", yscale="log")
    log_ticks(axes.xaxis, "{:g}".format)
    log_ticks(axes.yaxis, "{:g}".format)
    axes.legend(frameon=False)
    return figure


@styled
def recall_by_depth(curves: pd.DataFrame, best_rival: str) -> Figure:
    """Recall against the length of the ranking (``error_analysis.recall_by_depth``), one line per ranking."""
    figure, axes = canvas("What a longer list finds", "articles shown, k", "recall@k", height=4.6)
    colours = [_colour_of(str(name), best_rival) for name in curves]
    for name, colour in zip(curves, colours, strict=True):
        line = "--" if name == "two-tower" else "-"
        axes.plot(curves.index, curves[name], color=colour, linestyle=line, linewidth=1 if colour == QUIET else 1.8)
    axes.set_xlim(1, curves.index[-1])
    axes.set_ylim(0, max(curves.to_numpy().max(), 1e-6) * 1.05)
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    label_ends(axes, curves.index[-1], curves.iloc[-1].to_numpy(), [short(name, 34) for name in curves], colours)
    return figure


@styled
def recall_by_band(by_history: pd.DataFrame, by_age: pd.DataFrame, best_rival: str) -> Figure:
    """Recall@100 by the customer's history and by the article's age (``error_analysis``), one line per ranking."""
    figure, panels = plt.subplots(1, 2, figsize=(WIDTH + 1, 3.6), sharey=True)
    titles = ("By what the customer bought before", "By the age of the article")
    xs = ("purchases before the test days (customers)", "days since its first sale (purchases)")
    for axes, table, title, x in zip(panels, (by_history, by_age), titles, xs, strict=True):
        counts, names = table.iloc[:, 0], list(table.columns[1:])
        colours = [_colour_of(name, best_rival) for name in names]
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
    ends = by_age[names].iloc[-1].to_numpy(dtype=float)
    label_ends(panels[1], len(by_age) - 1, ends, [short(name, 24) for name in names], colours)
    return figure


@styled
def reliability(curves: pd.DataFrame) -> Figure:
    """Predicted probability against observed frequency (``reliability.reliability``), equal on the grey line."""
    figure, axes = canvas(
        "Is the score a probability?",
        "predicted probability of an article (log scale)",
        "observed frequency (log scale)",
        height=4.4,
    )
    if curves.empty:
        return nothing(figure, axes, "there are too few purchases to count frequencies")
    values = curves[["predicted", "observed"]].to_numpy()
    low, high = values.min(), values.max()
    axes.plot([low, high], [low, high], color=QUIET, linewidth=1.2)
    note(axes, "right", (high, high), (-4, 4), QUIET_INK, ha="right")
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
    """Statements that are true of missed purchases, and of found ones (``error_analysis.Reasons.shares``)."""
    return dumbbell(shares, "What is true of purchases", "of the purchases", labels=("missed", "found"), width=60)


@styled
def embedding_pca(places: pd.DataFrame) -> Figure:
    """Articles on the two principal axes of their embeddings (``embedding_pca.embedding_pca``), coloured by group."""
    figure, axes = canvas(
        "The map of the articles on sale", "first principal axis", "second principal axis", height=5.6
    )
    names = places["group"].value_counts().index[: len(GROUPS)]
    for name, colour in zip(names, GROUPS, strict=False):
        part = places[places["group"] == name]
        size = 6 if len(places) < 1_500 else 4
        axes.plot(part["x"], part["y"], ".", color=colour, markersize=size, alpha=0.5, markeredgewidth=0)
    for name, colour in zip(names, GROUPS, strict=False):
        part = places[places["group"] == name]
        axes.text(
            part["x"].median(), part["y"].median(), str(name), color=colour, weight="bold", ha="center", va="center",
            bbox={"boxstyle": "round,pad=0.25", "facecolor": "white", "edgecolor": colour, "alpha": 0.85},
        )  # fmt: skip
    axes.set_xticks([])
    axes.set_yticks([])
    return figure


def _bounds(table: pd.DataFrame, metric: str) -> list[npt.NDArray[np.float64]]:
    """Mean, low and high of a metric, ``[n]`` each."""
    return [table[(metric, part)].to_numpy(dtype=float) for part in ("mean", "low", "high")]


def _intervals(
    axes: Axes, title: str, mean: npt.NDArray, low: npt.NDArray, high: npt.NDArray, colours: Sequence[str] | npt.NDArray
) -> npt.NDArray[np.int64]:
    """A dot and a bar per row, the first row on top; returns the places of the rows."""
    rows = np.arange(len(mean))[::-1]
    axes.hlines(rows, low, high, color=colours, linewidth=3, alpha=0.6)
    axes.scatter(mean, rows, color=colours, s=36, zorder=3)
    axes.set_title(title)
    axes.set_ylim(-0.7, len(rows) - 0.3)
    axes.grid(axis="y", visible=False)
    return rows


def _odds(value: float, _: object) -> str:
    return percent(value) if value >= 0.001 else f"1 in {1 / value:,.0f}"
