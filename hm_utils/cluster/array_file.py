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
    """Location and type of an array's rows in a file.

    Rows are written with write(), not through mmap. On a network file system, flushing a mapped page would overwrite
    a neighbour's rows, and a full disk would kill the process instead of raising an error.

    Attributes:
        path: on a file system that all workers share.
        begin: bytes before the first row.
        dtype: the array's type.
    """

    path: Path
    begin: int
    dtype: np.dtype

    @classmethod
    def create(cls, path: Path, dtype: npt.DTypeLike, shape: tuple[int, ...]) -> ArrayFile:
        """A new file of zeros, byte for byte as ``np.save`` writes it."""
        header = {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": shape}
        with path.open("wb") as file:
            np.lib.format.write_array_header_1_0(file, header)
            begin = file.tell()
            file.truncate(begin + int(np.prod(shape)) * np.dtype(dtype).itemsize)
        return cls(path, begin, np.dtype(dtype))

    def write(self, blocks: Iterable[tuple[int, npt.NDArray]]) -> None:
        """Write blocks of rows, each given as its first row and ``[m, …]`` values of the array's type.

        Raises:
            ClusterError: if this machine does not have the file, because the driver created it on a local disk.
        """
        try:
            with self.path.open("r+b") as file:
                for first, rows in blocks:
                    if len(rows):
                        if rows.dtype != self.dtype:
                            raise TypeError(f"{self.path.name} holds {self.dtype}, not {rows.dtype}")
                        file.seek(self.begin + first * rows[0].nbytes)
                        file.write(np.ascontiguousarray(rows).data)
        except FileNotFoundError:
            raise ClusterError(
                f"a worker does not see {self.path}: choose a preprocessed_dir (or artifacts_dir) on a file system "
                "that all machines of the cluster share"
            ) from None
