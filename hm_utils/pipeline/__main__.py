"""Run the notebooks in order, with parameters, in one command.

    python -m hm_utils.pipeline --data-dir data/raw --artifacts-dir artifacts -p num_epochs 5 -p test_days 7

Each run writes a folder ``<artifacts_dir>/runs/<run id>/``: the executed notebooks, an HTML report of each,
``run.json`` (parameters, status and metrics), and ``index.html``, which shows them. ``runs/index.html`` compares all
runs. A notebook that fails stops the run, and its partial copy is kept.

Exit codes: 0 done, 1 a notebook failed, 2 wrong arguments, 130 interrupted.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import io
import json
import logging
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from hm_utils.files import atomic_replace, follow, repository_root
from hm_utils.pipeline import notebook_runner, reports
from hm_utils.pipeline.notebook_runner import CellFailed, Progress
from hm_utils.pipeline.parameters import ParameterError, check, check_engine, declared_parameters

logger = logging.getLogger(__name__)

LIBRARIES = ("torch", "numpy", "pandas", "pyarrow", "scann", "papermill")
RESERVE, RESERVED = ".reserve", 1 << 20  # a file, and its bytes: given back when the outcome must be saved
Status = Literal["running", "done", "failed", "interrupted"]


@dataclass
class NotebookRun:
    """One notebook of a run; paths are relative to the run's folder."""

    name: str
    parameters: dict[str, Any]
    status: Status | Literal["waiting"] = "waiting"
    seconds: float = 0.0
    notebook: str | None = None
    html: str | None = None
    peak_gib: float | None = None  # peak memory of the notebook's process


@dataclass
class RunResult:
    """A run, as stored in ``run.json``."""

    run_id: str
    run_dir: Path
    status: Status
    started: str
    parameters: dict[str, Any]
    notebooks: list[NotebookRun]
    ended: str | None = None
    seconds: float = 0.0
    error: dict[str, Any] | None = None
    published: str | None = None  # the model published by this run, relative to artifacts_dir
    environment: dict[str, Any] = field(default_factory=dict)
    effective: dict[str, Any] = field(default_factory=dict)  # every parameter, defaults included
    metrics: dict[str, Any] = field(default_factory=dict)  # values recorded by the notebooks
    data: str | None = None  # which data: synthetic or the user's own, and their size

    def save(self) -> None:
        """Write ``run.json`` and the pages that show it, each atomically."""
        with atomic_replace(self.run_dir / "run.json") as partial:
            partial.write_text(json.dumps(asdict(self), indent=2, default=str) + "\n", encoding="utf-8")
        reports.write_indexes(self.run_dir)


def find_notebooks(notebooks_dir: Path, start: str | None = None, only: str | None = None) -> list[Path]:
    """The numbered notebooks in order; ``start`` and ``only`` name one (``03_training``, or just ``03``).

    Raises:
        ParameterError: the folder has no numbered notebook, or none of that name.
    """
    found = sorted(notebooks_dir.glob("[0-9][0-9]_*.ipynb"))
    if not found:
        raise ParameterError(f"{notebooks_dir} has no numbered notebooks (01_….ipynb)")
    wanted = only or start
    if wanted is None:
        return found
    stem = wanted.removesuffix(".ipynb")
    places = [i for i, path in enumerate(found) if stem == path.stem or stem == path.stem.split("_")[0]]
    if not places:
        raise ParameterError(f"there is no notebook {wanted}; there are {', '.join(path.stem for path in found)}")
    return found[places[0] : places[0] + 1] if only else found[places[0] :]


def run(
    parameters: Mapping[str, Any] | None = None,
    data_dir: str | Path | None = None,
    artifacts_dir: str | Path | None = None,
    notebooks_dir: str | Path | None = None,
    start: str | None = None,
    only: str | None = None,
    progress: Progress | None = None,
) -> RunResult:
    """Run the notebooks in order, up to the first that fails.

    Args:
        parameters: values by name, passed to every notebook that declares the name. Text is parsed to the declared
            type. A relative ``*_dir`` or ``*_path`` starts at the working directory.
        data_dir: folder of the raw tables (default: the notebooks' own).
        artifacts_dir: folder of everything that a run writes (default: ``artifacts``).
        notebooks_dir: folder of the notebooks (default: this repository's).
        start: the first notebook to run.
        only: the one notebook to run.
        progress: receives lines of progress (default: standard output).

    Returns:
        The run. ``status`` is ``done``, ``failed`` or ``interrupted``; ``error`` has the place and the message.

    Raises:
        ParameterError: an unknown name, a value that cannot be, or an ``artifacts_dir`` that cannot be written. Nothing
            has started then.
    """
    root = repository_root(Path(notebooks_dir)) if notebooks_dir else repository_root()
    folder = Path(notebooks_dir).resolve() if notebooks_dir else root / "notebooks"
    paths = find_notebooks(folder, start, only)
    folders: dict[str, Any] = {"artifacts_dir": artifacts_dir or root / "artifacts"}
    if data_dir is not None:
        folders["data_dir"] = data_dir
    given = {name: _absolute(name, value) for name, value in (folders | dict(parameters or {})).items()}
    declared = {name: value.default for path in paths for name, value in declared_parameters(path).items()}
    # A selection of notebooks need not declare the two folders, which have options of their own.
    per_notebook = check(paths, {name: v for name, v in given.items() if name in declared or name not in folders})

    started = datetime.now(UTC).astimezone()
    run_id = f"{started:%Y%m%d-%H%M%S}-{hashlib.sha256(f'{given} {time.time_ns()}'.encode()).hexdigest()[:6]}"
    result = RunResult(
        run_id=run_id,
        run_dir=Path(given["artifacts_dir"]) / "runs" / run_id,
        status="running",
        started=started.isoformat(timespec="seconds"),
        parameters=given | {name: value for values in per_notebook.values() for name, value in values.items()},
        notebooks=[NotebookRun(path.stem, per_notebook[path.stem]) for path in paths],
        environment=_environment(root),
        effective=declared | {name: value for values in per_notebook.values() for name, value in values.items()},
    )
    check_engine(result.effective, given)
    try:
        result.run_dir.mkdir(parents=True)
        (result.run_dir / RESERVE).write_bytes(bytes(RESERVED))
        result.save()
    except OSError as error:
        folder = given["artifacts_dir"]
        raise ParameterError(
            f"artifacts_dir {folder} cannot be written ({error.strerror}: {error.filename}): name another"
        ) from error
    _run_all(paths, result, progress or Progress())
    return result


def _run_all(paths: Sequence[Path], result: RunResult, progress: Progress) -> None:
    """Run each notebook. Whatever happens, ``run.json`` has the outcome."""
    try:
        _run_each(paths, result, progress)
    except (KeyboardInterrupt, OSError) as error:  # between two notebooks; a full disk
        result.status = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
        notebook = next((each for each in result.notebooks if each.status != "done"), result.notebooks[-1])
        notebook.status = result.status
        result.error = {"notebook": notebook.name, "message": str(error) or result.status}
    finally:
        (result.run_dir / RESERVE).unlink(missing_ok=True)
        result.ended = datetime.now(UTC).astimezone().isoformat(timespec="seconds")
        try:
            result.save()
        except OSError as error:
            logger.error("the outcome cannot be saved: %s", error)


def _run_each(paths: Sequence[Path], result: RunResult, progress: Progress) -> None:
    """Run the notebooks up to the first that fails; update and save ``result`` after each."""
    began = time.monotonic()
    artifacts_dir = result.run_dir.parents[1]
    model_before = follow(artifacts_dir / "model")
    progress.line(f"run {result.run_id}: {len(paths)} notebooks, reports in {result.run_dir}")
    for number, (path, notebook) in enumerate(zip(paths, result.notebooks, strict=True), start=1):
        output = result.run_dir / path.name
        notebook.status = "running"
        notebook_began = time.monotonic()
        progress.line(f"[{number}/{len(paths)}] {notebook.name}")
        try:
            notebook_runner.execute(path, output, notebook.parameters, progress)
            notebook.status = "done"
        except CellFailed as failure:
            notebook.status = "failed"
            result.error = {"notebook": notebook.name, **failure.where}
        except KeyboardInterrupt:
            notebook.status = "interrupted"
            result.error = {"notebook": notebook.name, "message": "interrupted"}
        notebook.seconds = round(time.monotonic() - notebook_began, 1)
        notebook.notebook = output.name if output.exists() else None
        if notebook.notebook:
            facts = reports.recorded(output)
            notebook.peak_gib = facts.pop("peak_gib", None)
            result.data = facts.pop("data", result.data)
            result.metrics |= facts
            if reports.write_report(output, [path.stem for path in paths]):
                notebook.html = output.with_suffix(".html").name
        result.seconds = round(time.monotonic() - began, 1)
        if notebook.status != "done":
            result.status = notebook.status
            break
        progress.line(f"[{number}/{len(paths)}] {notebook.name} done in {notebook.seconds} s")
        result.save()
    else:
        result.status = "done"
    model = follow(artifacts_dir / "model")
    if model.exists() and model != model_before:
        result.published = os.path.relpath(model, artifacts_dir.resolve())


def _absolute(name: str, value: Any) -> Any:
    """Folders and files as absolute paths, because a notebook runs in its own folder."""
    if isinstance(value, Path) or (isinstance(value, str) and name.endswith(("_dir", "_path", "_features"))):
        no_path = str(value).strip().lower() in ("", "none", "null") or "://" in str(value)
        return value if no_path else str(Path(value).expanduser().resolve())
    return value


def _environment(root: Path) -> dict[str, Any]:
    """Versions of the software, and the commit in a git clone."""
    versions: dict[str, str | None] = {}
    for name in LIBRARIES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = None
    environment: dict[str, Any] = {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "versions": versions,
    }
    if shutil.which("git"):
        for key, arguments in {"commit": ["rev-parse", "HEAD"], "changed": ["status", "--porcelain"]}.items():
            git = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=False)
            if git.returncode == 0:
                environment[key] = git.stdout.strip() if key == "commit" else bool(git.stdout.strip())
    return environment


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m hm_utils.pipeline", description="Run the notebooks in order.")
    parser.add_argument("--data-dir", type=Path, help="folder of the raw tables (default: the notebooks' own)")
    parser.add_argument("--artifacts-dir", type=Path, help="folder of all results (default: artifacts)")
    parser.add_argument("--notebooks-dir", type=Path, help="folder of the notebooks (default: notebooks)")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--from", dest="start", metavar="NOTEBOOK", help="first notebook to run, e.g. 03_training or 03")
    which.add_argument("--only", metavar="NOTEBOOK", help="only notebook to run")
    parser.add_argument(
        "-p", "--parameter", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), dest="parameters",
        help='e.g. -p num_epochs 5 -p hidden_dims "[128, 64]"; may be repeated',
    )  # fmt: skip
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a path may have signs that the terminal has not
    options = _parser().parse_args(arguments)
    names = [name for name, _ in options.parameters]
    names += [name for name in ("data_dir", "artifacts_dir") if getattr(options, name) is not None]
    try:
        if repeated := sorted({name for name in names if names.count(name) > 1}):
            raise ParameterError(f"given more than once: {', '.join(repeated)}")
        # `kill` and a terminal that closes interrupt a run like Ctrl-C; `nohup` ignores the latter.
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, signal.default_int_handler)
        result = run(
            dict(options.parameters), options.data_dir, options.artifacts_dir, options.notebooks_dir,
            start=options.start, only=options.only,
        )  # fmt: skip
    except ParameterError as error:
        print("\n".join(f"error: {line}" for line in str(error).splitlines()), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    code = {"done": 0, "interrupted": 130}.get(result.status, 1)
    try:
        _report(result)
        sys.stdout.flush()
    except OSError:  # its reader is gone: nothing may be written at exit either
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return code


def _report(result: RunResult) -> None:
    """Print the result of the run."""
    if result.status == "done":
        print(f"done in {result.seconds:.0f} s; reports: {result.run_dir / 'index.html'}")
        print(
            f"published: {result.published}" if result.published else "no model published; the reports have the reason"
        )
        return
    error = result.error or {}
    if result.status == "interrupted":
        print(f"\ninterrupted in {error.get('notebook')} after {result.seconds:.0f} s", file=sys.stderr)
    else:
        place = f", code cell {error['cell']} (In [{error['execution_count']}])" if error.get("cell") else ""
        print(f"\nerror: {error.get('notebook')}{place} failed", file=sys.stderr)
        if error.get("source"):
            print(f"  cell:  {error['source']}", file=sys.stderr)
        print(f"  error: {error.get('message')}", file=sys.stderr)
        if error.get("at"):
            print(f"  at:    {error['at']}", file=sys.stderr)
    last = next(notebook for notebook in result.notebooks if notebook.status == result.status)
    if kept := last.html or last.notebook:
        print(f"  so far: {result.run_dir / kept}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
