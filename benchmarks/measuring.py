"""Shared by all benchmarks: rows in processes of their own, run in turn, and the table, JSON and machine of a run."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

from hm_utils.files import atomic_replace, repository_root
from hm_utils.pipeline.notebook_facts import peak_gib
from hm_utils.pipeline.parameters import check, declared_parameters

NOTEBOOKS = ("02_preprocessing", "03_training")  # their parameters are the settings

Run = dict[str, Any]  # the figures of one run of a row; ``error`` alone if its process died


def parser(name: str, doc: str | None, model: bool = False, data_dir: str = "") -> argparse.ArgumentParser:
    """The arguments of ``python -m benchmarks.<name>``: ``--json``, and ``--model`` or ``--data-dir`` on request."""
    made = argparse.ArgumentParser(
        prog=f"python -m benchmarks.{name}", description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    if model:
        made.add_argument("--model", default="artifacts/model", help="folder of a published model (%(default)s)")
    if data_dir:
        made.add_argument("--data-dir", default=data_dir, help="folder of the raw tables (%(default)s)")
    made.add_argument("--json", type=Path, help="file for all figures")
    return made


def notebook_parameters(given: Mapping[str, Any]) -> dict[str, Any]:
    """The notebooks' parameters, with the ``given`` values in place of their defaults.

    Raises:
        ParameterError: an unknown name, or a value that does not fit.
    """
    paths = [repository_root() / "notebooks" / f"{name}.ipynb" for name in NOTEBOOKS]
    values = {name: each.default for path in paths for name, each in declared_parameters(path).items()}
    for fitting in check(paths, given).values():
        values |= fitting
    return values


def chosen_of(dataclass_type: Any, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters that are also fields of a dataclass."""
    return {each.name: parameters[each.name] for each in fields(dataclass_type) if each.name in parameters}


def measured(work: Callable[..., Mapping[str, Any]], *arguments: Any) -> Run:
    """Call ``work`` in a new process; its result, with ``seconds`` and ``peak GiB``.

    The clock runs from the call to its return, without the start of Python and the import of the module. ``work`` may
    return ``seconds`` itself, where it times only a part. The peak is the process's largest resident set, with
    memory-mapped pages.

    Args:
        work: a function of a module (it is pickled by name).
        arguments: plain values.

    Raises:
        RuntimeError: the process died, for example because it ran out of memory.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(sender, work, arguments))
    process.start()
    sender.close()
    try:
        result: Run | str = receiver.recv()
    except EOFError:
        process.join()
        result = f"it ended with exit code {process.exitcode}"
    process.join()
    if isinstance(result, str):
        raise RuntimeError(f"{work.__module__}.{work.__name__}: {result}")
    return result


def _work(sender: Any, work: Callable[..., Mapping[str, Any]], arguments: tuple[Any, ...]) -> None:
    try:
        start = time.perf_counter()
        found = work(*arguments)
        sender.send({"seconds": time.perf_counter() - start, "peak GiB": peak_gib(), **found})
    except Exception as error:
        sender.send(f"{type(error).__name__}: {error}")
        raise


def in_turn(
    calls: Mapping[str, Callable[[], Run]], rounds: int, report: Run, path: Path | None
) -> dict[str, list[Run]]:
    """Run every row once a round, so that a slower hour of the machine slows all rows.

    The runs are also ``report["rows"]``, which is saved after each of them. A row that raises RuntimeError gets a run
    with ``error`` alone.
    """
    rows: dict[str, list[Run]] = {name: [] for name in calls}
    report["rows"] = rows
    for _ in range(rounds):
        for name, call in calls.items():
            try:
                rows[name].append(call())
            except RuntimeError as error:
                rows[name].append({"error": str(error)})
            print(f"{name}: {_line(rows[name][-1])}", file=sys.stderr, flush=True)
            save(path, report)
    return rows


def _line(run: Run) -> str:
    shown = {name: value for name, value in run.items() if isinstance(value, int | float | str)}
    return ", ".join(
        f"{name} {value:,.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in shown.items()
    )


def table(rows: Mapping[str, Sequence[Run]], metric: str, columns: Sequence[str] = ()) -> pd.DataFrame:
    """A line a row: ``metric``'s median, least, most, and median over the first row's; ``columns`` of the median run.

    The median run of an even number is the lower of the two in the middle. A row without a finished run is empty.
    """
    lines: dict[str, Run] = {}
    for name, runs in rows.items():
        finished = sorted((run for run in runs if "error" not in run), key=lambda run: float(run[metric]))
        lines[name] = {}
        if finished:
            middle = finished[(len(finished) - 1) // 2]
            values = [float(run[metric]) for run in finished]
            lines[name] = {metric: middle[metric], "min": values[0], "max": values[-1]} | {
                column: middle.get(column) for column in columns
            }
    frame = pd.DataFrame.from_dict(lines, orient="index").reindex(columns=[metric, "min", "max", *columns])
    frame = frame.astype(float)
    frame.insert(3, f"× {next(iter(rows), '')}", frame[metric] / frame[metric].iloc[0] if len(frame) else None)
    return frame


def show(heading: str, frame: pd.DataFrame, report: Run) -> int:
    """Print the heading, the machine, the table, and the errors of rows; the exit code of the command."""
    facts = report["machine"]
    print(f"\n{heading}\n{facts['processor']}, {facts['cores']} cores, load {facts['load']:.1f} at the start.\n")
    print(frame.to_string(float_format="{:,.2f}".format, na_rep="–"), flush=True)
    rows = report.get("rows", {})
    errors = {name: run["error"] for name, runs in rows.items() for run in runs if "error" in run}
    for name, error in errors.items():
        print(f"\ndied: {name}: {error}")
    return 1 if errors else 0


def machine(*libraries: str) -> Run:
    """The machine and the versions that the figures are of, for the JSON."""
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": models[0].partition(": ")[2] if models else platform.machine(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "versions": {name: version(name) for name in libraries},
    }


def save(path: Path | None, report: Mapping[str, Any]) -> None:
    """Write the report as it is so far: a long run that is stopped leaves its figures."""
    if path:
        with atomic_replace(path.absolute()) as partial:
            partial.write_text(json.dumps(report, indent=1, default=str))
