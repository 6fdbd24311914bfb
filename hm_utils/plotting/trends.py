"""The figures of what changes with time (notebook 01): tables in, a figure out, in the style of ``plots``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from hm_utils.data.preprocessing import Split
from hm_utils.data.purchases import PurchaseLog
from hm_utils.plotting.style import (
    GROUPS,
    INK,
    MAIN,
    OTHER,
    QUIET,
    QUIET_INK,
    canvas,
    label_ends,
    nothing,
    short,
    styled,
    thousands,
)

_SHORT_LOG = 60  # days; a shorter log is shown day by day


@styled
def sales_over_time(daily: pd.Series) -> Figure:
    """Purchases a day (``eda.daily_sales``), with the mean of each week where the log is long."""
    figure, axes = canvas("Purchases a day", "", "purchases a day", height=3.2)
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
        axes.annotate("each day", (daily.idxmax(), daily.max()), **_beside(QUIET_INK))
        axes.margins(x=0.01)
        _date_axis(axes)
    axes.set_ylim(0, daily.max() * 1.08)
    axes.yaxis.set_major_formatter(thousands())
    return figure


@styled
def sales_by_age(share: pd.Series) -> Figure:
    """Purchases by the article's age (``eda.sales_by_age``), summed up from its first sale on."""
    figure, axes = canvas(
        "How soon after its first sale an article sells", "days since the article's first sale", "purchases so far"
    )
    total = share.cumsum()
    if total.empty or total.iloc[-1] == 0:
        return nothing(figure, axes, "no article is first sold within this log")
    axes.plot(total.index, total, color=MAIN, marker="o" if len(total) < 15 else None, markersize=5)
    half = int(np.searchsorted(total.to_numpy(), 0.5 - 1e-12))
    axes.vlines(half, 0, total[half], color=OTHER, linewidth=1.4)
    text = "half of all on the first day" if half == 0 else f"half of all in the first {half + 1:,} days"
    axes.annotate(text, (half, total[half] / 2), (7, 0), textcoords="offset points", color=OTHER)
    axes.set_ylim(0, 1.03)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    return figure


@styled
def best_seller_overlap(overlap: pd.DataFrame, unit: str, marks: Sequence[int] = (1, 2, 4, 52)) -> Figure:
    """How much of the best-sellers is left, so many periods later (``turnover.best_seller_overlap``)."""
    figure, axes = canvas(
        f"Of the {overlap.attrs['top']:,} best-sellers of a {unit}, still among them …",
        f"{unit}s later",
        "still best-sellers",
    )
    if overlap.empty:
        return nothing(figure, axes, f"the log has a single {unit}")
    axes.fill_between(overlap.index, overlap["low"], overlap["high"], color=MAIN, alpha=0.15, linewidth=0)
    axes.plot(overlap.index, overlap["mean"], color=MAIN, marker="o" if len(overlap) < 15 else None, markersize=5)
    for later in (mark for mark in marks if mark in overlap.index):
        mean = float(overlap["mean"][later])
        axes.plot(later, mean, "o", color=MAIN, markersize=5)
        axes.annotate(f"{mean:.0%} after {later}", (later, mean), (7, 5), textcoords="offset points", color=MAIN)
    axes.text(0.99, 0.95, f"band: the middle 80 % of {unit}s", transform=axes.transAxes, ha="right", color=QUIET_INK)
    axes.set_ylim(0, 1.03)
    axes.set_xlim(0, overlap.index[-1] * 1.03 + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    return figure


@styled
def age_of_sales(shares: pd.DataFrame, unit: str) -> Figure:
    """Each period's purchases by the age of the article (``turnover.age_of_sales``), the youngest at the bottom."""
    figure, axes = canvas(f"Each {unit}'s purchases by the age of the article", "", "purchases", height=3.9)
    if shares.empty:
        return nothing(figure, axes, "the log is too short to tell new from old")
    shades = [OTHER, *("#0072b2", "#4c9ccc", "#8fc1e0", "#c9dfee")[: len(shares.columns) - 2], "#dfe3e8"]
    dates = shares.index
    if len(shares) < 15:
        bottom = np.zeros(len(shares))
        labels = [f"{day:%-d %b}" for day in dates]
        for name, colour in zip(shares, shades, strict=True):
            axes.bar(range(len(shares)), shares[name], bottom=bottom, color=colour, width=0.8)
            bottom = bottom + shares[name].to_numpy()
        axes.set_xticks(range(len(shares)), labels)
        end = len(shares) - 0.55
    else:
        axes.stackplot(dates, shares.to_numpy().T, colors=shades, linewidth=0)
        _date_axis(axes)
        axes.set_xlim(dates[0], dates[-1])
        end = axes.get_xlim()[1]
    axes.set_ylim(0, 1)
    axes.grid(visible=False)
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    figure.draw_without_rendering()  # the labels need to know how high the axes are
    last = shares.iloc[-1].to_numpy()
    colours = [OTHER, *[MAIN] * (len(last) - 2), QUIET]
    label_ends(axes, end, np.cumsum(last) - last / 2, [str(name) for name in shares], colours)
    return figure


@styled
def seasons(shares: pd.DataFrame, what: str) -> Figure:
    """Shares of each month's purchases of the most seasonal groups (``turnover.season_shares``)."""
    figure, axes = canvas(f"The most seasonal {what}: share of each month's purchases", "", "purchases of the month")
    if shares.empty:
        return nothing(figure, axes, "the log is too short to have seasons")
    colours = GROUPS[: len(shares.columns)]
    for name, colour in zip(shares, colours, strict=True):
        axes.plot(shares.index, shares[name], color=colour)
        peak = (date2num(shares[name].idxmax()), shares[name].max())
        axes.annotate(short(name), peak, (0, 4), textcoords="offset points", color=colour, ha="center", fontsize=9)
    axes.set_ylim(0, shares.to_numpy().max() * 1.12)
    axes.margins(x=0.04)
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    _date_axis(axes)
    return figure


@styled
def price_over_life(prices: pd.DataFrame) -> Figure:
    """Prices relative to the first week, by weeks since the first sale (``turnover.price_over_life``)."""
    figure, axes = canvas(
        "Price paid, relative to the article's first week", "weeks since the article's first sale", "of the first price"
    )
    if len(prices) < 2:
        return nothing(figure, axes, "the log shows too little of the life of an article")
    axes.axhline(1, color=QUIET, linewidth=1.2)
    axes.fill_between(prices.index, prices["low"], prices["high"], color=MAIN, alpha=0.15, linewidth=0)
    axes.plot(prices.index, prices["median"], color=MAIN)
    axes.text(
        0.99,
        0.05,
        "line: median, band: the middle 80 % of purchases",
        transform=axes.transAxes,
        ha="right",
        color=QUIET_INK,
    )
    axes.set_ylim(0, max(1.3, prices["high"].max() * 1.05))
    axes.margins(x=0.01)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    return figure


@styled
def timeline(purchases: pd.DataFrame, log: PurchaseLog, split: Split, as_of: int) -> Figure:
    """One customer's purchases in time (``one_customer.timeline``), the parts of the split, and the day asked about."""
    figure, axes = canvas("One customer's purchases, as of a day", "", "", height=2.8)
    axes.set_title(axes.get_title(loc="left"), pad=24)
    first = float(date2num(log.first_date))
    parts = {"training": (0, split.train_end), "validation": (split.train_end, split.val_end)}
    parts["test"] = (split.val_end, split.test_end)
    shown = min(int(purchases["day"].min()), split.train_end - 3 * (split.test_end - split.train_end))
    for (name, (start, end)), shade in zip(parts.items(), (0.0, 0.15, 0.3), strict=True):
        start = max(start, shown - 1)
        axes.axvspan(first + start, first + end, color=QUIET, alpha=shade, linewidth=0)
        if name == "training":
            axes.text(first + start, 1.03, name, transform=axes.get_xaxis_transform(), fontsize=9, color=QUIET_INK)
    names = "validation, then test"
    axes.text(
        first + split.test_end,
        1.03,
        names,
        transform=axes.get_xaxis_transform(),
        fontsize=9,
        color=QUIET_INK,
        ha="right",
    )
    axes.axvline(first + as_of, color=INK, linewidth=1.4)
    axes.annotate(
        f"as of {log.date(as_of)}", (first + as_of, 0.92), (-6, 0), xycoords=axes.get_xaxis_transform(),
        textcoords="offset points", ha="right", color=INK,
    )  # fmt: skip
    height = purchases.groupby("day").cumcount()
    for kind, part in purchases.groupby("seen as", sort=False):
        colour = MAIN if kind == "history" else OTHER
        axes.plot(first + part["day"].to_numpy(), height[part.index], "o", color=colour, markersize=7)
    axes.text(0.0, -0.32, "blue: history", transform=axes.transAxes, color=MAIN)
    axes.text(0.16, -0.32, "orange: the answer, unknown on that morning", transform=axes.transAxes, color=OTHER)
    axes.set_ylim(-0.6, max(4.0, height.max() + 2.2))
    axes.set_yticks([])
    axes.set_ylabel("purchases of a day")
    axes.grid(axis="y", visible=False)
    _date_axis(axes)
    return figure


def _date_axis(axes: Axes) -> None:
    locator = AutoDateLocator(minticks=5, maxticks=9)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))


def _beside(colour: str) -> dict[str, Any]:
    return {"xytext": (5, 3), "textcoords": "offset points", "color": colour, "annotation_clip": False}
