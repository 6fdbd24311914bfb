"""The runs of the pipeline as tables: parameters beside metrics."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from hm_utils.files import resolve
from hm_utils.pipeline.reports import read_runs
from hm_utils.plotting.run_figures import parameter_against_metric
from hm_utils.plotting.style import show

FACTS = ("started", "status", "seconds", "published")


def runs(artifacts: str | Path = "artifacts") -> pd.DataFrame:
    """A row a run, the newest first: when it started, its status and seconds, what it published, its parameters and
    its metrics. An unreadable run is left out with a warning.
    """
    found = _read(artifacts)
    rows = [{**{name: run.get(name) for name in FACTS}, **_parameters(run), **run["metrics"]} for run in found]
    table = pd.DataFrame(rows, index=pd.Index([run["run_id"] for run in found], name="run", dtype="str"))
    return table.assign(started=pd.to_datetime(table["started"], utc=True)) if len(table) else table


def compare_runs(one: str = "", other: str = "", artifacts: str | Path = "artifacts") -> pd.DataFrame:
    """Two runs side by side: the parameters that differ, and every metric with the difference.

    Args:
        one, other: ids of runs; the last two that have metrics if both are empty.

    Raises:
        ValueError: there are no such runs.
    """
    found = {run["run_id"]: run for run in _read(artifacts)}
    if not one and not other:
        one, other = ([name for name, run in found.items() if run["metrics"]] + ["", ""])[1::-1]
        if not one:
            raise ValueError(f"{artifacts} has fewer than two runs with metrics: `make run` adds one")
    if unknown := [name for name in (one, other) if name not in found]:
        raise ValueError(f"there is no run {unknown[0]!r:.100}; there are {', '.join(found) or 'none'}")
    pair = [found[one], found[other]]
    parameters = pd.DataFrame([_parameters(run) for run in pair], index=[one, other], dtype=object).T
    parameters = parameters[parameters[one].astype(str) != parameters[other].astype(str)]
    metrics = pd.DataFrame([run["metrics"] for run in pair], index=[one, other], dtype=object).T
    numbers = metrics.apply(pd.to_numeric, errors="coerce")
    metrics = metrics.assign(difference=numbers[other] - numbers[one])
    return pd.concat({"parameters": parameters, "metrics": metrics})


def plot_runs(parameter: str, metric: str = "MAP@12", artifacts: str | Path = "artifacts") -> None:
    """Show a metric against a parameter, a dot a run.

    Raises:
        ValueError: no run has both.
    """
    table = runs(artifacts)
    if missing := [name for name in (parameter, metric) if name not in table]:
        raise ValueError(f"no run has {missing[0]!r:.100}; the columns of runs() are {', '.join(map(str, table))}")
    table = table.dropna(subset=[parameter, metric])
    if not len(table):
        raise ValueError(f"no run has both {parameter} and {metric}")
    metrics, values = table[metric].astype(float), table[parameter].astype(str)
    best, different = int(metrics.argmax()), values.nunique()
    show(
        parameter_against_metric(table[parameter], metrics),
        f"The highest {metric} of {len(table)} runs is {metrics.iloc[best]:.4f}, with {parameter} {values.iloc[best]}. "
        f"Values of {parameter} so far: {different}.",
    )


def _read(artifacts: str | Path) -> list[dict[str, Any]]:
    return [{"metrics": {}, **run} for run in read_runs(resolve(artifacts) / "runs")]


def _parameters(run: dict[str, Any]) -> dict[str, Any]:
    """The parameters of a run, defaults included; lists as text."""
    values = run.get("effective") or run.get("parameters", {})
    return {name: str(value) if isinstance(value, list | dict) else value for name, value in values.items()}
