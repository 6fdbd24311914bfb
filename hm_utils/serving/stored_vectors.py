"""The user tower's vectors of known customers, precomputed when a model is published.

The user tower runs only when a request carries new information.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hm_utils.arrays import Float32


class StoredVectors:
    """``[n_customers, d]`` float32 in a ``.npy`` file, read a row at a time; threads may share it.

    Not memory-mapped: every touched page brings its neighbours, and soon each worker would hold the whole file. The
    system's cache keeps the rows that are read often.
    """

    def __init__(self, path: Path) -> None:
        """Raises ValueError if the file is no such array, FileNotFoundError if it is missing."""
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        if not isinstance(array, np.memmap) or array.ndim != 2 or array.dtype != np.float32 or array.strides[1] != 4:
            raise ValueError(f"{path.name} does not hold float32 [customers, d]: publish again")
        self.shape: tuple[int, int] = array.shape
        self._begin, self._width = array.offset, array.strides[0]
        self._file = path.open("rb", buffering=0)  # closed with the last reference to this

    def __len__(self) -> int:
        return self.shape[0]

    def read(self, rows: npt.NDArray[np.integer]) -> Float32:
        """``[m, d]`` of these customers (rows from 0 to n - 1). Raises OSError if the file has become shorter."""
        found = np.empty((len(rows), self.shape[1]), dtype=np.float32)
        file = self._file.fileno()
        for place, row in zip(found, rows.tolist(), strict=True):
            if os.preadv(file, [place.data], self._begin + row * self._width) != self._width:
                raise OSError("the stored vectors end before their last customer")
        return found


def write_vectors(path: Path, parts: Iterable[Float32], customers: int) -> None:
    """Write the file from parts ``[m, d]`` in order of customer row. Raises ValueError if rows are missing or extra."""
    written = 0
    with path.open("wb") as file:  # on a full disk write() raises, and a memory map would kill the process
        for part in parts:
            if not written:
                facts = {"descr": "<f4", "fortran_order": False, "shape": (customers, part.shape[1])}
                np.lib.format.write_array_header_1_0(file, facts)
            file.write(np.ascontiguousarray(part, dtype="<f4").data)
            written += len(part)
    if written != customers:
        raise ValueError(f"{path.name}: vectors of {written} customers, not of {customers}")
