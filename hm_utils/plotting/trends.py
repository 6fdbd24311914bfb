"""Figures of changes over time (notebooks 01 and 02). Each takes a table and returns a figure."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

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
    mark,
    note,
    nothing,
    share_curve,
    short,
    styled,
    thousands,
    whole_numbers,
)

_SHORT_LOG = 60  # days; a shorter log is drawn as bars


@styled
def sales_over_time(daily: pd.Series) -> Figure:
    """Purchases per day (``eda.daily_sales``); in a long log with their 7-day mean."""
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
        note(axes, "7-day mean", (smooth.index[-4], smooth.iloc[-4]), (5, 3), MAIN, annotation_clip=False)
        note(axes, "each day", (daily.idxmax(), daily.max()), (5, 3), QUIET_INK, annotation_clip=False)
        axes.margins(x=0.01)
        _date_axis(axes)
    axes.set_ylim(0, daily.max() * 1.08)
    axes.yaxis.set_major_formatter(thousands())
    return figure


@styled
def sales_by_age(share: pd.Series) -> Figure:
    """Cumulative purchases by the article's age (``eda.sales_by_age``)."""
    figure, axes = canvas(
        "How soon after its first sale an article sells", "days since the article's first sale", "purchases so far"
    )
    total = share.cumsum()
    if total.empty or total.iloc[-1] == 0:
        return nothing(figure, axes, "no article is first sold within this log")
    share_curve(axes, total)
    half = int(np.searchsorted(total.to_numpy(), 0.5 - 1e-12))
    axes.vlines(half, 0, total[half], color=OTHER, linewidth=1.4)
    text = "half of all on the first day" if half == 0 else f"half of all in the first {half + 1:,} days"
    note(axes, text, (half, total[half] / 2), (7, 0), OTHER)
    return figure


@styled
def best_seller_overlap(overlap: pd.DataFrame, unit: str) -> Figure:
    """The share of best-sellers that remain, by periods later (``turnover.best_seller_overlap``)."""
    figure, axes = canvas(
        f"Of the {overlap.attrs['top']:,} best-sellers of a {unit}, still among them …",
        f"{unit}s later",
        "still best-sellers",
    )
    if overlap.empty:
        return nothing(figure, axes, f"the log has a single {unit}")
    axes.fill_between(overlap.index, overlap["low"], overlap["high"], color=MAIN, alpha=0.15, linewidth=0)
    share_curve(axes, overlap["mean"])
    marked = overlap.index.intersection([1, 13, 26, 52])
    for later in marked[np.diff(marked, prepend=-np.inf) > 0.15 * len(overlap)]:  # side by side
        mean = float(overlap["mean"][later])
        mark(axes, later, mean, f"{mean:.0%} after {later}", (7, 5))
    axes.text(0.99, 0.95, f"band: the middle 80 % of {unit}s", transform=axes.transAxes, ha="right", color=QUIET_INK)
    axes.set_xlim(0, overlap.index[-1] * 1.03 + 0.5)
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
    if list(shares) == ["empty"]:
        return nothing(figure, axes, f"the tables have no {what}")
    colours = GROUPS[: len(shares.columns)]
    for name, colour in zip(shares, colours, strict=True):
        axes.plot(shares.index, shares[name], color=colour)
    axes.set_ylim(0, shares.to_numpy().max() * 1.05)
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    _date_axis(axes)
    end = float(date2num(shares.index[-1]))
    axes.set_xlim(float(date2num(shares.index[0])), end)
    label_ends(axes, end, shares.iloc[-1].to_numpy(), [short(name) for name in shares], colours)
    return figure


@styled
def price_over_life(prices: pd.DataFrame) -> Figure:
    """Prices relative to the first week, by weeks since the first sale (``turnover.price_over_life``)."""
    figure, axes = canvas(
        "Price paid, relative to the article's first week", "weeks since the article's first sale", "of the first price"
    )
    if len(prices) < 2:
        return nothing(figure, axes, "the log shows too little of the life of an article")
    if prices["median"].isna().all():
        return nothing(figure, axes, "the log has no prices")
    axes.axhline(1, color=QUIET, linewidth=1.2)
    axes.fill_between(prices.index, prices["low"], prices["high"], color=MAIN, alpha=0.15, linewidth=0)
    axes.plot(prices.index, prices["median"], color=MAIN)
    band = "line: median, band: the middle 80 % of purchases"
    axes.text(0.99, 0.05, band, transform=axes.transAxes, ha="right", color=QUIET_INK)
    axes.set_ylim(0, max(1.3, prices["high"].max() * 1.05))
    axes.margins(x=0.01)
    whole_numbers(axes.xaxis)
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    return figure


@styled
def timeline(purchases: pd.DataFrame, log: PurchaseLog, split: Split, as_of: int) -> Figure:
    """One customer's purchases (``customer_timeline.timeline``), the parts of the split, and the day of the query."""
    figure, axes = canvas("One customer's purchases, as of a day", "", "", height=2.8)
    axes.set_title(axes.get_title(loc="left"), pad=24)
    first = float(date2num(log.first_date))
    ends = (0, split.train_end, split.val_end, split.test_end)
    shown = min(int(purchases["day"].min()), split.train_end - 3 * (split.test_end - split.train_end))
    for (start, end), shade in zip(pairwise(ends), (0.0, 0.15, 0.3), strict=True):
        axes.axvspan(first + max(start, shown - 1), first + end, color=QUIET, alpha=shade, linewidth=0)
    above: dict[str, Any] = {"transform": axes.get_xaxis_transform(), "fontsize": 9, "color": QUIET_INK}
    axes.text(first + max(0, shown - 1), 1.03, "training", **above)
    axes.text(first + split.test_end, 1.03, "validation, then test", ha="right", **above)
    axes.axvline(first + as_of, color=INK, linewidth=1.4)
    as_of_text = f"as of {log.date(as_of)}"
    note(axes, as_of_text, (first + as_of, 0.92), (-6, 0), INK, ha="right", xycoords=axes.get_xaxis_transform())
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
