"""What every figure of the notebooks has."""

from __future__ import annotations

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text

WHITE, DARK = (1.0, 1.0, 1.0), to_rgb("#14181c")  # the reports' pages
# The reports' filter for dark pages: invert(1) hue-rotate(180deg).
HUE_ROTATE = np.array([[-0.574, 1.43, 0.144], [0.426, 0.43, 0.144], [0.426, 1.43, -0.856]])


def check_figure(figure: Figure) -> None:
    """Every panel has a title and a label, unless the figure has nothing to show."""
    shown = [axes for axes in figure.axes if axes.axison]
    assert all(axes.get_title(loc="left") for axes in figure.axes if axes.axison or len(figure.axes) == 1)
    assert all(axes.get_xlabel() or axes.get_ylabel() or figure.get_supxlabel() for axes in shown)
    assert shown or any("nothing to show" in text.get_text() for text in figure.axes[0].texts)
    for text in figure.findobj(Text):
        ink = np.array(to_rgb(text.get_color()))
        if text.get_text() and not (ink == 1).all():  # white is inside a bar
            assert contrast(ink, WHITE) >= 4.5, f"{text.get_text()!r} on a light page"
            assert contrast(np.clip(HUE_ROTATE @ (1 - ink), 0, 1), DARK) >= 4.5, f"{text.get_text()!r} on a dark page"


def contrast(one, other) -> float:
    """The ratio of two colours' luminance, as WCAG 2 defines it."""
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(colour) -> float:
    channels = np.asarray(colour)
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])
