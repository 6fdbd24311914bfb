"""Figures over several runs (the laboratory)."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from hm_utils.plotting.style import MAIN, OTHER, canvas, short, styled


@styled
def parameter_against_metric(parameter: pd.Series, metric: pd.Series) -> Figure:
    """A dot a run, the best one marked. Values of a parameter that are no numbers stand in order of the alphabet."""
    name, best = str(metric.name), metric.argmax()
    figure, axes = canvas(f"{name} by {parameter.name}", str(parameter.name), name)
    numbers = pd.to_numeric(parameter, errors="coerce")
    values = numbers if numbers.notna().all() else parameter.astype(str)
    if values is numbers:
        places = values.astype(float)
    else:
        labels = sorted(set(values))
        places = values.map({label: place for place, label in enumerate(labels)}).astype(float)
        axes.set_xticks(range(len(labels)), [short(label) for label in labels])
    axes.plot(places, metric, "o", color=MAIN, markersize=7)
    axes.plot(places.iloc[best], metric.iloc[best], "o", color=OTHER, markersize=9)
    axes.margins(x=0.1, y=0.15)
    return figure
