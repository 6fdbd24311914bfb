"""What every figure of the notebooks has."""

from __future__ import annotations

from matplotlib.figure import Figure


def check_figure(figure: Figure) -> None:
    """Every panel has a title and a label, unless the figure has nothing to show."""
    shown = [axes for axes in figure.axes if axes.axison]
    assert all(axes.get_title(loc="left") for axes in figure.axes if axes.axison or len(figure.axes) == 1)
    assert all(axes.get_xlabel() or axes.get_ylabel() or figure.get_supxlabel() for axes in shown)
    assert shown or any("nothing to show" in text.get_text() for text in figure.axes[0].texts)
