"""A ``.npy`` file that many processes write at once, each its own rows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hm_utils.cluster import ClusterError


@dataclass(frozen=True)
class ArrayFile:
    """Where the rows of an array are in a file.

    Rows are written, not memory-mapped: a file system of many machines writes a mapped page back whole, with the
    neighbour's rows that are on it, and a full disk is an error here and the end of the process there.

    Attributes:
        path: on a file system that all workers share.
        begin: bytes before the first row.
        dtype: of the array.
    """

    path: Path
    begin: int
    dtype: np.dtype

    @classmethod
    def create(cls, path: Path, dtype: npt.DTypeLike, shape: tuple[int, ...]) -> ArrayFile:
        """A new file of zeros, byte for byte as ``np.save`` writes it."""
        facts = {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": shape}
        with path.open("wb") as file:
            np.lib.format.write_array_header_1_0(file, facts)
            begin = file.tell()
            file.truncate(begin + int(np.prod(shape)) * np.dtype(dtype).itemsize)
        return cls(path, begin, np.dtype(dtype))

    def write(self, runs: Iterable[tuple[int, npt.NDArray]]) -> None:
        """Write each run of rows (its first row, and ``[m, …]`` of the array's type); again does no harm.

        Raises:
            ClusterError: if the file is not there: the driver made it, on a disk of its own.
        """
        try:
            with self.path.open("r+b") as file:
                for first, rows in runs:
                    if len(rows):
                        if rows.dtype != self.dtype:
                            raise TypeError(f"{self.path.name} holds {self.dtype}, not {rows.dtype}")
                        file.seek(self.begin + first * rows[0].nbytes)
                        file.write(np.ascontiguousarray(rows).data)
        except FileNotFoundError:
            raise ClusterError(
                f"{self.path} is not there for a worker: name a preprocessed_dir (or artifacts_dir) on a file system "
                "that all machines of the cluster share"
            ) from None
