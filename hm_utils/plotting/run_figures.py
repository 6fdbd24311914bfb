"""Figures over several runs, for the page that compares them and for the laboratory."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from hm_utils.plotting.style import MAIN, OTHER, QUIET, WIDTH, canvas, short, styled

# Suffixes of a metric's variants, as notebook 04 records them.
VARIANTS = {"": (MAIN, "published ranking"), ", best baseline": (OTHER, "best baseline")}


@styled
def metrics_over_runs(runs: pd.DataFrame, metrics: Sequence[str] = ("MAP@12", "recall@100")) -> Figure:
    """Each metric of every run, one panel a metric.

    Args:
        runs: one row per run, oldest first; the index names them; columns are metrics and their variants.
    """
    figure, grid = plt.subplots(1, len(metrics), figsize=(WIDTH, 2.8), squeeze=False)
    places = range(len(runs))
    for axes, metric in zip(grid[0], metrics, strict=True):
        for suffix, (colour, label) in VARIANTS.items():
            if (name := metric + suffix) in runs and runs[name].notna().any():
                values = runs[name].astype(float)
                axes.plot(places, values, color=colour, marker="o", markersize=5, label=label)
        axes.axvline(int(runs[metric].argmax()), color=QUIET, linewidth=1, linestyle=":")
        axes.set(title=f"{metric}, at most {runs[metric].max():.4f}", xlabel="run, by its start (dotted: the best)")
        axes.set_ylim(0, axes.get_ylim()[1])
        step = -(-len(runs) // 6)
        axes.set_xticks(list(places)[::step], list(runs.index[::step]), rotation=30, ha="right")
        axes.tick_params(axis="x", labelsize=8)
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper right", ncols=2)
    return figure


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
