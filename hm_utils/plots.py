"""Every figure of the notebooks, in one quiet style: one function, tables in, a figure out.

Colours are of the Okabe–Ito set, which the colour-blind can tell apart; a colour means the same
thing everywhere (:data:`MAIN` what the figure is about, :data:`OTHER` what it is compared with).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from io import BytesIO
from itertools import pairwise
from typing import Any, TypeVar

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
import pandas as pd
from IPython.display import Image, Markdown, display
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter

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
_SHORT_LOG = 60  # days; a shorter log is shown day by day

Draw = TypeVar("Draw", bound=Callable[..., Figure])


def _styled(draw: Draw) -> Draw:
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


# ---------------------------------------------------------------- the data (notebook 01)


@_styled
def missing(share: pd.Series) -> Figure:
    """Columns with empty values (``eda.missing_share``)."""
    return _bars(share, "Share of values that are empty, by column", "values that are empty", colour=QUIET)


@_styled
def sales_over_time(daily: pd.Series) -> Figure:
    """Purchases a day (``eda.daily_sales``), with the mean of each week where the log is long."""
    figure, axes = _canvas("Purchases a day", "", "purchases a day", height=3.2)
    if len(daily) < _SHORT_LOG:
        bars = axes.bar(daily.index, daily, color=MAIN, width=0.8)
        if len(daily) <= 15:
            axes.bar_label(bars, fmt="{:,.0f}", padding=2, color=INK)
            axes.set_xticks(daily.index, [f"{day:%a}\n{day:%-d %b}" for day in daily.index])
        axes.grid(axis="x", visible=False)
    else:
        axes.plot(daily.index, daily, color=QUIET, linewidth=0.6)
        smooth = daily.rolling(7, center=True).mean()
        axes.plot(smooth.index, smooth, color=MAIN)
        axes.annotate("7-day mean", (smooth.index[-4], smooth.iloc[-4]), **_beside(MAIN))
        axes.annotate("each day", (daily.idxmax(), daily.max()), **_beside("#6b7782"))
        axes.margins(x=0.01)
        _date_axis(axes)
    axes.set_ylim(0, daily.max() * 1.08)
    axes.yaxis.set_major_formatter(_thousands())
    return figure


@_styled
def popularity(share: pd.Series) -> Figure:
    """Share of all purchases of the k best sellers (``eda.cumulative_share``)."""
    figure, axes = _canvas(
        "Share of all purchases that the best-selling articles make", "best-selling articles (log scale)", "purchases"
    )
    axes.plot(share.index, share, color=MAIN)
    marks = [k for k in (10, 100, 1_000, 10_000) if k <= len(share)]
    axes.plot(marks, share.loc[marks], "o", color=MAIN, markersize=5)
    for k in marks:
        text = f"top {k:,}: {share[k]:.1%}"
        axes.annotate(text, (k, share[k]), (-7, 5), textcoords="offset points", color=MAIN, ha="right")
    place = len(share) ** 0.93  # near the upper end of the grey line
    axes.plot(share.index, share.index / len(share), color=QUIET, linewidth=1.2)
    axes.annotate(
        "if all sold alike",
        (place, place / len(share)),
        (-8, 2),
        textcoords="offset points",
        ha="right",
        color="#6b7782",
    )
    axes.set_xscale("log")
    axes.set_xlim(0.9, len(share) * 1.6)
    axes.set_ylim(0, 1.03)
    axes.xaxis.set_major_formatter(_thousands())
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    return figure


@_styled
def basket_sizes(sizes: npt.NDArray) -> Figure:
    """Purchases in a basket (``eda.basket_sizes``); the last bar takes the rest."""
    return _counts(sizes, 12, "Purchases in a basket (one customer, one day)", "purchases in the basket", "baskets")


@_styled
def basket_coherence(shares: pd.DataFrame) -> Figure:
    """What two articles of one basket share, beside any two purchases (``eda.basket_coherence``)."""
    return _dumbbell(
        shares.iloc[::-1],
        "How often two different articles share …",
        "pairs of articles",
        labels=("two of one basket", "any two purchases"),
    )


@_styled
def repurchase_gaps(gaps: npt.NDArray) -> Figure:
    """Days since the last purchase of the same article (``eda.repurchases(...).gaps``)."""
    figure, axes = _canvas(
        "Repurchases by days since the customer last bought the same article", "days since then", "repurchases so far"
    )
    if len(gaps) == 0:
        return _nothing(figure, axes, "no article was bought again on a later day")
    days = np.arange(1, gaps.max() + 1)
    share = np.searchsorted(np.sort(gaps), days, side="right") / len(gaps)
    axes.plot(days, share, color=MAIN, marker="o" if len(days) < 15 else None, markersize=5)
    for day in (day for day in (7, 28, 91) if day < len(days)):
        text = f"{share[day - 1]:.0%} within {day} days"
        axes.plot(day, share[day - 1], "o", color=MAIN, markersize=5)
        axes.annotate(text, (day, share[day - 1]), (8, -10), textcoords="offset points", color=MAIN)
    axes.set_ylim(0, 1.03)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    return figure


@_styled
def purchases_per_customer(counts: npt.NDArray) -> Figure:
    """How much customers buy (``eda.purchases_per_customer``), in doubling steps."""
    figure, axes = _canvas("Customers by how much they bought", "purchases in the whole log", "customers")
    edges = 2 ** np.arange(int(np.log2(counts.max())) + 2)
    share = np.histogram(counts, edges)[0] / len(counts)
    labels = [f"{low}" if high == low + 1 else f"{low}–{high - 1}" for low, high in pairwise(edges)]
    _columns(axes, labels, share)
    return figure


@_styled
def ages(age: pd.Series, weight: npt.NDArray | None = None) -> Figure:
    """Customers by age; with ``weight`` (purchases of each) also the purchases by the buyer's age."""
    figure, axes = _canvas("Customers and their purchases by age", "age, years", "share for each year of age")
    known = age.notna().to_numpy()
    if not known.any():
        return _nothing(figure, axes, "no customer's age is known")
    years = age[known].to_numpy().astype(int)
    place = np.arange(years.min(), years.max() + 2)
    curves = {"customers": (np.ones(len(years)), QUIET, "-")}
    if weight is not None and weight[known].sum() > 0:
        curves["purchases"] = (weight[known], MAIN, "-")
    tops = []
    for name, (amount, colour, line) in curves.items():
        share = np.bincount(years - place[0], weights=amount, minlength=len(place)) / amount.sum()
        axes.step(place, share, where="mid", color=colour, linestyle=line)
        tops.append((name, colour, share))
    axes.fill_between(place, tops[0][2], step="mid", color=QUIET, alpha=0.25, linewidth=0)
    axes.set_ylim(0, max(share.max() for *_, share in tops) * 1.12)
    for place_, (name, colour, _) in enumerate(tops):
        text_colour = "#6b7782" if colour == QUIET else colour
        axes.text(0.99, 0.93 - 0.09 * place_, name, transform=axes.transAxes, ha="right", color=text_colour)
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=1))
    return figure


@_styled
def attributes(shares: pd.DataFrame) -> Figure:
    """Values of the customers' attributes (``eda.attribute_shares``), one bar an attribute."""
    names = list(dict.fromkeys(shares["attribute"]))[::-1]
    figure, axes = _canvas("Customers by attribute", "customers", "", height=0.9 + 0.55 * len(names))
    shades = [MAIN, "#56b4e9", "#b7d7ee", "#e4e8ec"]
    for row, name in enumerate(names):
        part = shares[shares["attribute"] == name].head(len(shades))
        left = np.concatenate([[0], np.cumsum(part["share"])[:-1]])
        known = iter(shades)
        colours = ["#dfe3e8" if value == "empty" else next(known) for value in part["value"]]
        axes.barh(row, part["share"], left=left, color=colours, edgecolor="white", height=0.7)
        narrow = []
        for value, share, start, colour in zip(part["value"], part["share"], left, colours, strict=True):
            if share < 0.12:  # no room for a label inside
                narrow.append(f"{value}: {_percent(share)}")
                continue
            ink = "white" if colour == MAIN else INK
            text = f"{value}: {_percent(share)}"
            axes.text(start + share / 2, row, text, ha="center", va="center", color=ink, fontsize=9)
        axes.text(1.01, row, "\n".join(narrow), va="center", fontsize=9)
    axes.set_yticks(range(len(names)), names)
    axes.set_xlim(0, 1)
    axes.grid(visible=False)
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    return figure


@_styled
def catalogue(shares: pd.DataFrame, what: str, top: int = 12) -> Figure:
    """Each group's share of the catalogue and of purchases (``eda.catalogue_shares``), the largest ``top``."""
    kept = shares.head(top)[["purchases", "articles"]].iloc[::-1]
    more = f" (the {top} that sell most of {len(shares)})" if len(shares) > top else ""
    return _dumbbell(kept, f"Catalogue and purchases by {what}{more}", "share", labels=("purchases", "articles"))


@_styled
def prices(price: npt.NDArray) -> Figure:
    """The price paid in each purchase, on a log scale."""
    figure, axes = _canvas("Prices paid", "price, in the data's own unit (log scale)", "purchases")
    paid = price[price > 0]
    if len(paid) == 0:
        return _nothing(figure, axes, "every price is 0")
    low, high = np.quantile(paid, [0.0005, 0.9995])
    edges = np.geomspace(low, max(high, low * 1.01), 41)
    share = np.histogram(np.clip(paid, edges[0], edges[-1]), edges)[0] / len(paid)
    axes.stairs(share, edges, fill=True, color=MAIN, alpha=0.85)
    median = float(np.median(paid))
    axes.axvline(median, color=OTHER, linewidth=1.4)
    axes.text(median, share.max() * 1.08, f" median {median:.4f}", color=OTHER, va="center")
    axes.set_xscale("log")
    axes.set_ylim(0, share.max() * 1.16)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    return figure


@_styled
def price_ranges(quantiles: pd.DataFrame, what: str) -> Figure:
    """Median and the middle 80 % of prices of each group (``eda.price_quantiles``)."""
    figure, axes = _canvas(
        f"Prices paid by {what}",
        "price, in the data's own unit (dot: median, bar: the middle 80 % of purchases)",
        "",
        height=1.1 + 0.3 * len(quantiles),
    )
    rows = np.arange(len(quantiles))
    axes.hlines(rows, quantiles["low"], quantiles["high"], color=QUIET, linewidth=4, alpha=0.6)
    axes.plot(quantiles["median"], rows, "o", color=MAIN, markersize=7)
    axes.set_yticks(rows, [_short(name) for name in quantiles.index])
    axes.set_ylim(-0.6, len(quantiles) - 0.4)
    axes.set_xlim(left=0)
    axes.grid(axis="y", visible=False)
    return figure


@_styled
def sales_by_age(share: pd.Series) -> Figure:
    """Purchases by the article's age (``eda.sales_by_age``), summed up from its first sale on."""
    figure, axes = _canvas(
        "How soon after its first sale an article sells", "days since the article's first sale", "purchases so far"
    )
    total = share.cumsum()
    if total.empty or total.iloc[-1] == 0:
        return _nothing(figure, axes, "no article is first sold within this log")
    axes.plot(total.index, total, color=MAIN, marker="o" if len(total) < 15 else None, markersize=5)
    half = int(np.searchsorted(total.to_numpy(), 0.5 - 1e-12))
    axes.vlines(half, 0, total[half], color=OTHER, linewidth=1.4)
    text = "half of all on the first day" if half == 0 else f"half of all in the first {half + 1:,} days"
    axes.annotate(text, (half, total[half] / 2), (7, 0), textcoords="offset points", color=OTHER)
    axes.set_ylim(0, 1.03)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    return figure


# ---------------------------------------------------------------- training (notebook 03)


@_styled
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


@_styled
def recency_weights(weights: pd.Series) -> Figure:
    """The share of the history's pool by age of the purchase (``inspection.recency_weights``)."""
    figure, axes = _canvas("How much a purchase counts, by its age", "age of the purchase", "share of the pool")
    _columns(axes, [str(age) for age in weights.index], weights.to_numpy())
    axes.tick_params(axis="x", rotation=60)
    return figure


# ---------------------------------------------------------------- evaluation (notebook 04)


@_styled
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


@_styled
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


# ---------------------------------------------------------------- parts


def _canvas(title: str, x: str, y: str, height: float = 3.6) -> tuple[Figure, Axes]:
    figure, axes = plt.subplots(figsize=(WIDTH, height))
    axes.set(title=title, xlabel=x, ylabel=y)
    return figure, axes


def _nothing(figure: Figure, axes: Axes, text: str) -> Figure:
    """Say so where there is nothing to draw."""
    axes.set_axis_off()
    axes.text(0.5, 0.5, f"Nothing to show: {text}.", ha="center", va="center", transform=axes.transAxes)
    figure.set_size_inches(WIDTH, 1.4)
    return figure


def _bars(share: pd.Series, title: str, label: str, colour: str) -> Figure:
    """Horizontal bars with their share beside them, largest on top."""
    figure, axes = _canvas(title, label, "", height=1.1 + 0.28 * max(len(share), 1))
    if share.empty:
        return _nothing(figure, axes, "no value is empty")
    bars = axes.barh([str(name) for name in share.index[::-1]], share.iloc[::-1], color=colour)
    axes.bar_label(bars, labels=[_percent(value) for value in share.iloc[::-1]], padding=3, fontsize=9)
    axes.set_xlim(0, min(share.max() * 1.15, 1.12))
    axes.grid(axis="y", visible=False)
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.xaxis.set_major_locator(MaxNLocator(6))
    return figure


def _counts(values: npt.NDArray, last: int, title: str, x: str, y: str) -> Figure:
    """Share of each whole number from 1 to ``last``, which takes the larger ones too."""
    figure, axes = _canvas(title, x, y)
    share = np.bincount(np.minimum(values, last), minlength=last + 1)[1:] / max(len(values), 1)
    _columns(axes, [*map(str, range(1, last)), f"{last}+"], share)
    return figure


def _columns(axes: Axes, labels: Sequence[str], share: npt.NDArray) -> None:
    bars = axes.bar(labels, share, color=MAIN, width=0.8)
    axes.bar_label(bars, labels=[_percent(value) for value in share], padding=2, fontsize=9)
    axes.set_ylim(0, share.max() * 1.12)
    axes.grid(axis="x", visible=False)
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    if sum(map(len, labels)) > 45:
        axes.tick_params(axis="x", labelsize=8)


def _dumbbell(shares: pd.DataFrame, title: str, label: str, labels: tuple[str, str]) -> Figure:
    """Two shares a row, joined by a line; the first column is the figure's subject. Last row on top."""
    figure, axes = _canvas(title, label, "", height=1.3 + 0.3 * len(shares))
    if shares.isna().all(axis=None):
        return _nothing(figure, axes, "there is no pair to compare")
    rows = np.arange(len(shares))
    one, other = (shares[column].to_numpy(dtype=float) for column in shares)
    axes.hlines(rows, one, other, color="#d0d6dc", linewidth=2)
    axes.plot(other, rows, "o", color=QUIET, markersize=7, label=labels[1])
    axes.plot(one, rows, "o", color=MAIN, markersize=7, label=labels[0])
    axes.set_yticks(rows, [_short(name) for name in shares.index])
    axes.set_ylim(-0.6, len(shares) - 0.4)
    axes.set_xlim(left=min(0.0, -0.02 * np.nanmax(shares.to_numpy(dtype=float))))
    axes.grid(axis="y", visible=False)
    axes.xaxis.set_major_locator(MaxNLocator(8, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0 if np.nanmax([one, other]) > 0.1 else 1))
    figure.legend(loc="outside lower right", ncols=2, handletextpad=0.2, reverse=True)
    return figure


def _date_axis(axes: Axes) -> None:
    locator = AutoDateLocator(minticks=5, maxticks=9)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))


def _beside(colour: str) -> dict[str, Any]:
    return {"xytext": (5, 3), "textcoords": "offset points", "color": colour, "annotation_clip": False}


def _text_colour(colour: str) -> str:
    return "#5b6670" if colour == QUIET else colour


def _percent(share: float) -> str:
    return f"{share:.0%}" if share >= 0.1 or share == 0 else f"{share:.1%}" if share >= 0.001 else f"{share:.2%}"


def _short(name: object, length: int = 28) -> str:
    text = str(name)
    return text if len(text) <= length else text[: length - 1] + "…"


def _thousands() -> FuncFormatter:
    return FuncFormatter(lambda value, _: f"{value:,.0f}")
