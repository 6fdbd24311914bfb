"""Versions, peak memory and recorded values of a notebook: its last cell, and ``run.json``."""

from __future__ import annotations

import platform
import resource
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import pandas as pd

GIB = 2**30
RECORD = "application/x-hm-record+json"  # type of an output that is stored but not shown


def peak_gib() -> float:
    """The largest resident set of this process so far, in GiB, memory-mapped pages included."""
    # Linux counts in KiB, macOS in bytes.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / GIB


def record(facts: dict[str, Any], text: str = "") -> None:
    """Store plain values in the notebook; ``hm_utils.pipeline`` copies them to ``run.json``. Jupyter shows a text."""
    from IPython.display import display  # imported here: benchmarks read peak_gib without IPython

    display({RECORD: list(facts.items()), "text/plain": text}, raw=True)  # pairs: a notebook file sorts names


def record_data(line: str) -> None:
    """Say which data the notebook is about (``data.origin.data_line``); its report and the run's page begin with it."""
    record({"data": line}, text=line)


def footer(*libraries: str) -> pd.DataFrame:
    """The versions of Python and of these libraries, and the peak memory, which is also recorded."""
    record({"peak_gib": round(peak_gib(), 2)})
    facts = {"python": platform.python_version(), **{name: _version(name) for name in libraries}}
    return pd.Series({**facts, "peak memory": f"{peak_gib():.2f} GiB"}, name="").to_frame()


def _version(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:  # ScaNN has no wheel for some machines
        return "not installed"
