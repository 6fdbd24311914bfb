"""The style of every figure, its display in a notebook, and the parts that several figures share.

Colours are of the Okabe–Ito set, which colour-blind readers can tell apart. A colour has the same meaning in every
notebook: :data:`MAIN` is the subject (the model, the purchases), :data:`OTHER` a comparison or a mark, :data:`THIRD` an
upper bound, :data:`QUIET` everything else. The background is transparent: on a dark page the reports invert a figure's
lightness and keep its hues (``pipeline/templates/report.css``).

The figures themselves: :mod:`hm_utils.plotting.eda_figures` and :mod:`hm_utils.plotting.trends` (notebook 01, 02),
:mod:`hm_utils.plotting.tower_diagram` and :mod:`hm_utils.plotting.training_figures` (03),
:mod:`hm_utils.plotting.evaluation_figures` (04).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from html import unescape
from io import BytesIO
from typing import Any, TypeVar

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
import pandas as pd
from IPython.display import Image, Markdown, display
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, PercentFormatter

MAIN, OTHER, THIRD, QUIET, INK = "#0072b2", "#d55e00", "#009e73", "#9aa5b1", "#29323c"
QUIET_INK = "#5b6670"  # text about something quiet
# Groups of equal importance, in this order.
GROUPS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#5b6670")
# Text about something of a colour is darker: 4.5 times the luminance of the page, light or inverted.
TEXT_COLOURS = {
    QUIET: QUIET_INK,
    OTHER: "#b34f00",
    THIRD: "#006e50",
    "#cc79a7": "#94476f",
    "#e69f00": "#7a5600",
    "#56b4e9": "#1a6f9e",
}
WIDTH = 8.0  # inches
SHARPNESS = 1.8  # image pixels per pixel of the page; sharp screens have two
STYLE: dict[Any, Any] = {
    "figure.dpi": 100,
    "savefig.dpi": 100 * SHARPNESS,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
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
    "text.parse_math": False,  # a name may have two dollar signs
    "xtick.color": INK,
    "ytick.color": INK,
    "lines.linewidth": 1.8,
    "legend.frameon": False,
}
NOTHING = "nothing to show"

Draw = TypeVar("Draw", bound=Callable[..., Figure])


def styled(draw: Draw) -> Draw:
    """Draw in the shared style and close the figure, so that a notebook shows it only once."""

    @wraps(draw)
    def inner(*arguments: Any, **options: Any) -> Figure:
        with plt.rc_context(STYLE):
            figure = draw(*arguments, **options)
            for text in figure.findobj(Text):
                colour = to_hex(text.get_color())
                text.set_color(TEXT_COLOURS.get(colour, colour))
            figure.draw_without_rendering()  # computes layout and ticks in this style
            figure.set_layout_engine("none")  # saving need not lay out again
        plt.close(figure)
        return figure

    return inner  # type: ignore[return-value]


def show(figure: Figure, takeaway: str) -> None:
    """Show a figure in a notebook, with its takeaway (Markdown) below and as its alternative text."""
    if str(figure.get_label()).startswith(NOTHING):
        display(Markdown(f"*{figure.axes[0].get_title(loc='left')}*: {figure.get_label()}"))
        return
    png, width = picture(figure)
    titles = [figure.get_suptitle(), *(axes.get_title(loc=STYLE["axes.titlelocation"]) for axes in figure.axes)]
    words = unescape(takeaway.replace("`", "").replace("*", ""))
    alt = f"Figure: {'; '.join(title for title in titles if title)}. {words}"
    # JupyterLab's dark theme adds a light background on request.
    display(Image(png, width=width, alt=alt, metadata={"needs_background": "light"}))
    display(Markdown(f"**Takeaway.** {takeaway}"))


def picture(figure: Figure) -> tuple[bytes, int]:
    """The figure as a PNG, and its width in pixels of a page."""
    content = BytesIO()
    with plt.rc_context(STYLE):
        figure.savefig(content, format="png", bbox_inches="tight")
    png = content.getvalue()
    return png, round(int.from_bytes(png[16:20]) / SHARPNESS)  # from the header of the PNG


def canvas(title: str, x: str, y: str, height: float = 3.6) -> tuple[Figure, Axes]:
    """A figure with one titled and labelled pair of axes."""
    figure, axes = plt.subplots(figsize=(WIDTH, height))
    axes.set(title=title, xlabel=x, ylabel=y)
    return figure, axes


def nothing(figure: Figure, axes: Axes, text: str) -> Figure:
    """A figure without content; :func:`show` displays the sentence instead."""
    axes.set_axis_off()
    words = f"{NOTHING}: {text}."
    figure.set_label(words)
    axes.text(0.5, 0.5, words, ha="center", va="center", transform=axes.transAxes)
    figure.set_size_inches(WIDTH, 1.4)
    return figure


def note(axes: Axes, text: str, place: Any, offset: tuple[float, float], colour: str, **options: Any) -> None:
    """Text at an offset of points from a place in the axes."""
    axes.annotate(text, place, offset, textcoords="offset points", color=colour, **options)


def mark(axes: Axes, x: float, y: float, text: str, offset: tuple[float, float], **options: Any) -> None:
    """A dot on the main curve, with a note."""
    axes.plot(x, y, "o", color=MAIN, markersize=5)
    note(axes, text, (x, y), offset, MAIN, **options)


def share_curve(axes: Axes, shares: pd.Series) -> None:
    """A curve of shares, from 0 to 1, over whole numbers; a dot for each value if they are few."""
    axes.plot(shares.index, shares, color=MAIN, marker="o" if len(shares) < 15 else None, markersize=5)
    axes.set_ylim(0, 1.03)
    whole_numbers(axes.xaxis)
    axes.yaxis.set_major_formatter(PercentFormatter(1))


def whole_numbers(axis: Axis) -> None:
    """Ticks at whole numbers only."""
    axis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def log_ticks(axis: Axis, text: Callable[[float], str]) -> None:
    """Ticks of a log scale at 1, 2 and 5 times a power of ten."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: text(value)))
    axis.set_minor_formatter(NullFormatter())


def share_bars(axes: Axes, labels: Sequence[str], share: npt.NDArray) -> None:
    """One bar per label, with its share above."""
    bars = axes.bar(labels, share, color=MAIN, width=0.8)
    axes.bar_label(bars, labels=[percent(value) for value in share], padding=2, fontsize=9)
    axes.set_ylim(0, share.max() * 1.12)
    axes.grid(axis="x", visible=False)
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    if sum(map(len, labels)) > 45:
        axes.tick_params(axis="x", labelsize=8)


def percent(share: float) -> str:
    """A share in per cent; smaller shares have more digits."""
    return f"{share:.0%}" if share >= 0.1 or share == 0 else f"{share:.1%}" if share >= 0.001 else f"{share:.2%}"


def spread(places: npt.NDArray, gap: float, low: float) -> npt.NDArray:
    """``places`` (``[n]``) moved apart to a distance of ``gap``, none below ``low``, so that labels do not overlap."""
    order = np.argsort(places, kind="stable")
    moved = places[order].astype(float)
    for _ in range(200):
        missing = gap - np.diff(moved)
        if (missing <= 1e-9).all():
            break
        push = np.maximum(missing, 0) / 2
        moved[:-1] -= push
        moved[1:] += push
    moved += max(low - moved[0], 0.0) if len(moved) else 0.0
    result = np.empty_like(moved)
    result[order] = moved
    return result


def label_ends(axes: Axes, place: float, ends: npt.NDArray, texts: Sequence[str], colours: Sequence[str]) -> None:
    """Label lines at their right ends instead of in a legend; the axes' limits must be final."""
    low, high = axes.get_ylim()
    figure = axes.get_figure(root=True)
    assert figure is not None
    figure.draw_without_rendering()  # lays out the axes, whose height is needed
    inches = figure.get_figheight() * axes.get_position().height
    for end, text, colour in zip(spread(ends, (high - low) * 0.16 / inches, low), texts, colours, strict=True):
        note(axes, text, (place, end), (6, 0), colour, va="center", fontsize=9, annotation_clip=False)


def dumbbell(shares: pd.DataFrame, title: str, label: str, labels: tuple[str, str], width: int = 28) -> Figure:
    """Two shares per row, joined by a line; the first column is the figure's subject. The last row is on top.

    ``width`` is the maximum number of characters of a row's name.
    """
    figure, axes = canvas(title, label, "", height=1.3 + 0.3 * len(shares))
    if shares.isna().all(axis=None):
        return nothing(figure, axes, "there is no pair to compare")
    rows = np.arange(len(shares))
    one, other = (shares[column].to_numpy(dtype=float) for column in shares)
    axes.hlines(rows, one, other, color="#d0d6dc", linewidth=2)
    axes.plot(other, rows, "o", color=QUIET, markersize=7, label=labels[1])
    axes.plot(one, rows, "o", color=MAIN, markersize=7, label=labels[0])
    axes.set_yticks(rows, [short(name, width) for name in shares.index])
    axes.set_ylim(-0.6, len(shares) - 0.4)
    axes.set_xlim(left=min(0.0, -0.02 * np.nanmax(shares.to_numpy(dtype=float))))
    axes.grid(axis="y", visible=False)
    axes.xaxis.set_major_locator(MaxNLocator(8, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0 if np.nanmax([one, other]) > 0.1 else 1))
    figure.legend(loc="outside lower right", ncols=2, handletextpad=0.2, reverse=True)
    return figure


def short(name: object, length: int = 28) -> str:
    """The text in one line, cut to at most ``length`` characters."""
    text = " ".join(str(name).split())
    return text if len(text) <= length else text[: length - 1] + "…"


def thousands() -> FuncFormatter:
    """Ticks like 12,000."""
    return FuncFormatter(lambda value, _: f"{value:,.0f}")
