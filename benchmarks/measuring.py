"""What a piece of work costs: wall seconds and peak memory, in a process of its own."""

from __future__ import annotations

import json
import multiprocessing
import os
import platform
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from hm_utils.pipeline.notebook_facts import peak_gib


def measured(work: Callable[..., Mapping[str, Any]], *arguments: Any) -> dict[str, Any]:
    """Call ``work`` in a new process: what it returns, with ``seconds`` and ``peak GiB``.

    The clock runs from the call to its return; starting Python and importing the function's module are not in
    it. ``work`` may return ``seconds`` itself, where it times only a part. The peak is the process's largest
    resident set, memory-mapped pages included.

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
        result: dict[str, Any] | str = receiver.recv()
    except EOFError:
        process.join()
        result = f"it ended with exit code {process.exitcode}"
    process.join()
    if isinstance(result, str):
        raise RuntimeError(f"{work.__module__}.{work.__name__}{arguments}: {result}")
    return result


def _work(sender: Any, work: Callable[..., Mapping[str, Any]], arguments: tuple[Any, ...]) -> None:
    try:
        start = time.perf_counter()
        found = work(*arguments)
        seconds = time.perf_counter() - start
        sender.send({"seconds": seconds, "peak GiB": peak_gib(), **found})
    except Exception as error:
        sender.send(f"{type(error).__name__}: {error}")
        raise


def machine(*libraries: str) -> dict[str, Any]:
    """What the figures were measured on, for the JSON."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cores": os.cpu_count(),
        "versions": {name: version(name) for name in libraries},
    }


def save(path: Path | None, report: Mapping[str, Any]) -> None:
    """Write the report as it is so far: a long run that is stopped leaves what it has measured."""
    if path:
        partial = path.with_name(f".{path.name}.partial")
        partial.write_text(json.dumps(report, indent=1, default=str))
        partial.replace(path)
