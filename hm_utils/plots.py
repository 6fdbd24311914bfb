"""The figures of training and evaluation, and the quiet style of every figure: tables in, a figure out.

Colours are of the Okabe–Ito set, which the colour-blind can tell apart; a colour means the same
thing everywhere (:data:`MAIN` what the figure is about, :data:`OTHER` what it is compared with).
The figures of the data are in :mod:`hm_utils.eda_plots`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from io import BytesIO
from typing import Any, TypeVar

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
import pandas as pd
from IPython.display import Image, Markdown, display
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

MAIN, OTHER, THIRD, QUIET, INK = "#0072b2", "#d55e00", "#009e73", "#9aa5b1", "#29323c"
STYLE: dict[Any, Any] = {
    "figure.dpi": 110,
    "figure.constrained_layout.use": True,
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 10,
    "axes.labelcolor": INK,
    "axes.edgecolor": QUIET,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e8ec",
    "grid.linewidth": 0.8,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "lines.linewidth": 1.8,
    "legend.frameon": False,
}
WIDTH = 8.0

Draw = TypeVar("Draw", bound=Callable[..., Figure])


def styled(draw: Draw) -> Draw:
    """Draw in the shared style, and close the figure, so that a notebook shows it once: as the cell's value."""

    @wraps(draw)
    def inner(*arguments: Any, **options: Any) -> Figure:
        with plt.rc_context(STYLE):
            figure = draw(*arguments, **options)
            figure.draw_without_rendering()  # lays out, and makes the ticks, while the style still holds
            figure.set_layout_engine("none")  # done, so that saving need not do it again
        plt.close(figure)
        return figure

    return inner  # type: ignore[return-value]


def show(figure: Figure, takeaway: str = "") -> None:
    """Show a figure in a notebook, with what is to be learned from it below and as its alternative text."""
    png = BytesIO()
    figure.savefig(png, format="png", bbox_inches="tight")
    titles = (axes.get_title(loc=STYLE["axes.titlelocation"]) for axes in figure.axes)
    what = "Figure: " + "; ".join(title for title in titles if title)
    words = takeaway.replace("`", "").replace("*", "")
    display(Image(png.getvalue(), alt=f"{what}. {words}".strip()))
    if takeaway:
        display(Markdown(f"**Takeaway.** {takeaway}"))


def canvas(title: str, x: str, y: str, height: float = 3.6) -> tuple[Figure, Axes]:
    """A figure with one titled and labelled pair of axes."""
    figure, axes = plt.subplots(figsize=(WIDTH, height))
    axes.set(title=title, xlabel=x, ylabel=y)
    return figure, axes


def nothing(figure: Figure, axes: Axes, text: str) -> Figure:
    """Say so where there is nothing to draw."""
    axes.set_axis_off()
    axes.text(0.5, 0.5, f"Nothing to show: {text}.", ha="center", va="center", transform=axes.transAxes)
    figure.set_size_inches(WIDTH, 1.4)
    return figure


def share_bars(axes: Axes, labels: Sequence[str], share: npt.NDArray) -> None:
    """A bar a label, with its share above."""
    bars = axes.bar(labels, share, color=MAIN, width=0.8)
    axes.bar_label(bars, labels=[percent(value) for value in share], padding=2, fontsize=9)
    axes.set_ylim(0, share.max() * 1.12)
    axes.grid(axis="x", visible=False)
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    if sum(map(len, labels)) > 45:
        axes.tick_params(axis="x", labelsize=8)


def percent(share: float) -> str:
    """A share in words, with more digits the smaller it is."""
    return f"{share:.0%}" if share >= 0.1 or share == 0 else f"{share:.1%}" if share >= 0.001 else f"{share:.2%}"


# ---------------------------------------------------------------- training (notebook 03)


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


# ---------------------------------------------------------------- evaluation (notebook 04)


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
            axes.text(place + span * 0.03, row, f"{value:.4f}", va="center", fontsize=8.5, color=_text_colour(colour))
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


def _text_colour(colour: str) -> str:
    return "#5b6670" if colour == QUIET else colour
