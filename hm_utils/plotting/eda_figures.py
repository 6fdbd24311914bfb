"""Figures of the data (notebook 01). Each takes a table and returns a figure."""

from __future__ import annotations

from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
import pandas as pd
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
    mark,
    note,
    nothing,
    percent,
    share_bars,
    share_curve,
    short,
    styled,
    thousands,
)

EMPTY = "empty"  # as hm_utils.analysis.data_tables fills a missing value
NO_COLUMN, NO_PRICES = "the tables have no {}", "the log has no prices"


@styled
def missing(share: pd.Series) -> Figure:
    """Share of empty values by column (``eda.missing_share``), largest on top."""
    title = "Share of values that are empty, by column"
    figure, axes = canvas(title, "values that are empty", "", height=1.1 + 0.28 * max(len(share), 1))
    if share.empty:
        return nothing(figure, axes, "no value is empty")
    bars = axes.barh([str(name) for name in share.index[::-1]], share.iloc[::-1], color=QUIET)
    axes.bar_label(bars, labels=[percent(value) for value in share.iloc[::-1]], padding=3, fontsize=9)
    axes.set_xlim(0, min(share.max() * 1.15, 1.12))
    axes.grid(axis="y", visible=False)
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.xaxis.set_major_locator(MaxNLocator(6))
    return figure


@styled
def popularity(share: pd.Series) -> Figure:
    """The k best-sellers' share of all purchases (``eda.cumulative_share``)."""
    figure, axes = canvas(
        "Share of all purchases that the best-selling articles make", "best-selling articles (log scale)", "purchases"
    )
    axes.plot(share.index, share, color=MAIN)
    for k in share.index.intersection([10, 100, 1_000, 10_000]):
        mark(axes, k, share[k], f"top {k:,}: {share[k]:.1%}", (-7, 5), ha="right")
    place = len(share) ** 0.93  # near the upper end of the grey line
    axes.plot(share.index, share.index / len(share), color=QUIET, linewidth=1.2)
    note(axes, "if all sold alike", (place, place / len(share)), (-8, 2), QUIET_INK, ha="right")
    axes.set_xscale("log")
    axes.set_xlim(0.9, len(share) * 1.6)
    axes.set_ylim(0, 1.03)
    axes.xaxis.set_major_formatter(thousands())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    return figure


@styled
def basket_sizes(sizes: npt.NDArray) -> Figure:
    """Baskets by number of purchases (``eda.basket_sizes``); the last bar holds all larger ones."""
    figure, axes = canvas("Purchases in a basket (one customer, one day)", "purchases in the basket", "baskets")
    last = 12
    share = np.bincount(np.minimum(sizes, last), minlength=last + 1)[1:] / max(len(sizes), 1)
    share_bars(axes, [*map(str, range(1, last)), f"{last}+"], share)
    return figure


@styled
def basket_coherence(shares: pd.DataFrame) -> Figure:
    """Attributes shared by two articles of one basket, and by any two purchases (``eda.basket_coherence``)."""
    title, unit = "How often two different articles share …", "pairs of articles"
    if shares.empty:
        return nothing(*canvas(title, unit, ""), NO_COLUMN.format("attribute of articles"))
    return dumbbell(shares.iloc[::-1], title, unit, labels=("two of one basket", "any two purchases"))


@styled
def repurchase_gaps(gaps: npt.NDArray) -> Figure:
    """Days since the last purchase of the same article (``eda.repurchases(...).gaps``)."""
    figure, axes = canvas(
        "Repurchases by days since the customer last bought the same article", "days since then", "repurchases so far"
    )
    if len(gaps) == 0:
        return nothing(figure, axes, "no article was bought again on a later day")
    days = np.arange(1, gaps.max() + 1)
    share = pd.Series(np.searchsorted(np.sort(gaps), days, side="right") / len(gaps), index=days)
    share_curve(axes, share)
    for day in (day for day in (7, 28, 91) if day < len(days)):
        mark(axes, day, share[day], f"{share[day]:.0%} within {day} days", (8, -10))
    return figure


@styled
def purchases_per_customer(counts: npt.NDArray) -> Figure:
    """Customers by number of purchases (``eda.purchases_per_customer``), in doubling steps."""
    figure, axes = canvas("Customers by how much they bought", "purchases in the whole log", "customers")
    edges = 2 ** np.arange(int(np.log2(counts.max())) + 2)
    share = np.histogram(counts, edges)[0] / len(counts)
    labels = [f"{low}" if high == low + 1 else f"{low}–{high - 1}" for low, high in pairwise(edges)]
    share_bars(axes, labels, share)
    return figure


@styled
def ages(age: pd.Series, purchases: npt.NDArray) -> Figure:
    """Customers, and their ``purchases`` (``[n_customers]``), by age."""
    figure, axes = canvas("Customers and their purchases by age", "age, years", "share for each year of age")
    known = age.notna().to_numpy()
    if not known.any():
        return nothing(figure, axes, "no customer's age is known")
    years = age[known].to_numpy().astype(int)
    place = np.arange(years.min(), years.max() + 2)
    curves = {"customers": (np.ones(len(years)), QUIET)}
    if purchases[known].sum() > 0:
        curves["purchases"] = (purchases[known], MAIN)
    highest = 0.0
    for row, (name, (amount, colour)) in enumerate(curves.items()):
        share = np.bincount(years - place[0], weights=amount, minlength=len(place)) / amount.sum()
        highest = max(highest, share.max())
        axes.step(place, share, where="mid", color=colour)
        if colour == QUIET:
            axes.fill_between(place, share, step="mid", color=colour, alpha=0.25, linewidth=0)
        axes.text(0.99, 0.93 - 0.09 * row, name, transform=axes.transAxes, ha="right", color=colour)
    axes.set_ylim(0, highest * 1.12)
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=1))
    return figure


@styled
def attributes(shares: pd.DataFrame) -> Figure:
    """Values of the customers' attributes (``eda.attribute_shares``), one bar per attribute."""
    names = list(dict.fromkeys(shares["attribute"]))[::-1]
    figure, axes = canvas("Customers by attribute", "customers", "", height=0.9 + 0.55 * len(names))
    if (shares["value"] == EMPTY).all():
        return nothing(figure, axes, NO_COLUMN.format("attribute of customers"))
    shades = [MAIN, "#56b4e9", "#b7d7ee", "#e4e8ec"]
    for row, name in enumerate(names):
        part = shares[shares["attribute"] == name].head(len(shades))
        left = np.concatenate([[0], np.cumsum(part["share"])[:-1]])
        known = iter(shades)
        colours = ["#dfe3e8" if value == "empty" else next(known) for value in part["value"]]
        axes.barh(row, part["share"], left=left, color=colours, edgecolor="white", height=0.7)
        narrow = []
        for value, share, start, colour in zip(part["value"], part["share"], left, colours, strict=True):
            text = f"{value}: {percent(share)}"
            if share < 0.12:  # no room for a label inside
                narrow.append(text)
                continue
            ink = "white" if colour == MAIN else INK
            axes.text(start + share / 2, row, text, ha="center", va="center", color=ink, fontsize=9)
        axes.text(1.01, row, "\n".join(narrow), va="center", fontsize=9)
    axes.set_yticks(range(len(names)), names)
    axes.set_xlim(0, 1)
    axes.grid(visible=False)
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    return figure


@styled
def catalogue(shares: pd.DataFrame, what: str) -> Figure:
    """Shares of the catalogue and of purchases of the 12 largest groups (``eda.catalogue_shares``)."""
    if list(shares.index) == [EMPTY]:
        return nothing(*canvas(f"Catalogue and purchases by {what}", "share", ""), NO_COLUMN.format(what))
    top = 12
    kept = shares.head(top)[["purchases", "articles"]].iloc[::-1]
    more = f" (the {top} that sell most of {len(shares)})" if len(shares) > top else ""
    return dumbbell(kept, f"Catalogue and purchases by {what}{more}", "share", labels=("purchases", "articles"))


@styled
def prices(price: npt.NDArray) -> Figure:
    """The price paid in each purchase, on a log scale."""
    figure, axes = canvas("Prices paid", "price, in the data's own unit (log scale)", "purchases")
    paid = price[price > 0]
    if len(paid) == 0:
        return nothing(figure, axes, NO_PRICES if np.isnan(price).all() else "every price is 0")
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
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    return figure


@styled
def price_ranges(quantiles: pd.DataFrame, what: str) -> Figure:
    """Median and the middle 80 % of prices of each group (``eda.price_quantiles``)."""
    figure, axes = canvas(
        f"Prices paid by {what}",
        "price, in the data's own unit (dot: median, bar: the middle 80 % of purchases)",
        "",
        height=1.1 + 0.3 * len(quantiles),
    )
    if quantiles["median"].isna().all():
        return nothing(figure, axes, NO_PRICES)
    rows = np.arange(len(quantiles))
    axes.hlines(rows, quantiles["low"], quantiles["high"], color=QUIET, linewidth=4, alpha=0.6)
    axes.plot(quantiles["median"], rows, "o", color=MAIN, markersize=7)
    axes.set_yticks(rows, [short(name) for name in quantiles.index])
    axes.set_ylim(-0.6, len(quantiles) - 0.4)
    axes.set_xlim(left=0)
    axes.grid(axis="y", visible=False)
    return figure


@styled
def groups_by_age(shares: pd.DataFrame, overlap: pd.Series) -> Figure:
    """Purchases of each age (``eda.groups_by_age``), and the share of its best-sellers that are everybody's."""
    figure, (axes, beside) = plt.subplots(1, 2, figsize=(WIDTH, 3.6), width_ratios=[3, 2])
    axes.set(title="Purchases by index group", xlabel="age of the customer", ylabel="purchases of the age")
    beside.set(
        title="Top articles that are everybody's", xlabel="age of the customer", ylabel="of the age's best-sellers"
    )
    if shares.empty:
        beside.remove()
        return nothing(figure, axes, "no customer's age is known")
    colours = GROUPS[: len(shares.columns)]
    places = np.arange(len(shares))
    for name, colour in zip(shares, colours, strict=False):
        axes.plot(places, shares[name], color=colour, marker="o", markersize=5)
    bars = beside.bar(overlap.index, overlap, color=MAIN, width=0.7)
    beside.bar_label(bars, fmt="{:.0%}", padding=2, fontsize=9)
    beside.set_ylim(0, 1.05)
    for panel, names in ((axes, shares.index), (beside, overlap.index)):
        panel.set_xticks(range(len(names)), [_band(name) for name in names])
        panel.tick_params(axis="x", labelsize=9)
        panel.yaxis.set_major_formatter(PercentFormatter(1))
        panel.grid(axis="x", visible=False)
    axes.set_ylim(0, shares.to_numpy().max() * 1.08)
    texts = [short(name, 16) for name in shares][: len(colours)]
    label_ends(axes, places[-1], shares.iloc[-1].to_numpy(), texts, colours)
    return figure


@styled
def upper_bounds(reach: pd.DataFrame) -> Figure:
    """Scores of simple rankings, with the knowledge of that morning and of the future (``upper_bounds.reach``)."""
    names = list(reach.index)[::-1]
    metrics = ["MAP@12", "recall@100"]
    figure, panels = plt.subplots(1, 2, sharey=True, figsize=(WIDTH, 1.3 + 0.36 * len(names)))
    colours = [THIRD if perfect else MAIN for perfect in reach["perfect"][::-1]]
    for axes, metric in zip(panels, metrics, strict=True):
        bars = axes.barh(names, reach[metric][::-1], color=colours, height=0.65)
        axes.bar_label(bars, fmt="{:.3f}", padding=3, fontsize=9)
        axes.set(title=metric, xlim=(0, max(float(reach[metric].max()), 1e-6) * 1.2))
        axes.grid(axis="y", visible=False)
        axes.xaxis.set_major_locator(MaxNLocator(4))
    figure.supxlabel("mean over customers (blue: known that morning, green: knows the future)", fontsize=9.5)
    return figure


def _band(name: str) -> str:
    """A short name of an age band: <25, 25–, 55+."""
    return name.replace(" and over", "+").replace("under ", "<").split("–")[0] + ("–" if "–" in name else "")
