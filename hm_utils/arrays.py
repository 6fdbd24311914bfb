"""The array types that signatures name (shapes are in the docstrings), and arrays in files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Bool = npt.NDArray[np.bool_]
Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]


SMALL = 16 * 2**20  # bytes; a smaller file is read: a mapped one that somebody cuts ends the process that reads it


def mapped(path: Path, mode: Any = "r") -> npt.NDArray[Any]:
    """A plain array over the mapped pages: every slice of a ``np.memmap`` is a new object with a file's attributes.

    Mode "c" is copy-on-write: nothing writes to the pages, but torch wants arrays that it could write to. A
    :data:`SMALL` file is read into memory.
    """
    return np.asarray(np.load(path, mmap_mode=mode if path.stat().st_size > SMALL else None, allow_pickle=False))
