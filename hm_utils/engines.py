"""The one place that chooses between this machine and a cluster, as the parameters ``engine`` and ``num_workers`` say.

Both engines give the same results. Ray is imported when a cluster is asked for.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from hm_utils.arrays import Int32, Int64
from hm_utils.cluster import require_ray
from hm_utils.data import preprocessing, raw
from hm_utils.data.preprocessed_folder import PreprocessedError
from hm_utils.data.preprocessing import Preprocessed, TrainingData
from hm_utils.data.raw import RawTables
from hm_utils.files import resolve
from hm_utils.model.scoring import Scoring
from hm_utils.model.snapshot import Snapshot
from hm_utils.model.towers import TowerConfig
from hm_utils.serving.batch import Recommended, recommend_in_chunks
from hm_utils.serving.recommender import Recommender
from hm_utils.training import fit, refit
from hm_utils.training.loop import AfterEpoch, TrainingInputs, TrainingResult, TrainingSettings, resolve_device
from hm_utils.training.refit import Refit
from hm_utils.training.validation import MONITOR


class Local:
    """This process, on all of its cores."""

    def device(self, device: str) -> str:
        """The place of the training, in words."""
        return resolve_device(device)

    def read_raw(
        self, data_dir: str | Path, article_columns: Sequence[str] = (), customer_columns: Sequence[str] = ()
    ) -> RawTables:
        """:func:`hm_utils.data.raw.read_raw`; a relative folder is taken from the repository's root."""
        return raw.read_raw(resolve(data_dir), article_columns, customer_columns)

    def preprocess(self, tables: RawTables, directory: Path, **parameters: Any) -> Preprocessed:
        """:func:`hm_utils.data.preprocessing.preprocess`."""
        return preprocessing.preprocess(tables, directory, **parameters)

    def fingerprint(self, data_dir: str | Path) -> str:
        """:attr:`RawTables.fingerprint` of the tables in a folder."""
        return raw.fingerprint(resolve(data_dir))

    def load(self, directory: Path, data_dir: str | Path) -> Preprocessed:
        """:meth:`Preprocessed.load` of a folder that must have been made from the tables in ``data_dir``.

        Raises:
            PreprocessedError: it was made from others, or as :meth:`Preprocessed.load`.
            RawDataError: there are no tables in ``data_dir``.
        """
        data = Preprocessed.load(directory)
        if self.fingerprint(data_dir) != data.manifest["raw_fingerprint"]:
            raise PreprocessedError(
                f"{directory} was made from other tables than those in {data_dir}: run notebook 02_preprocessing "
                "again, or set data_dir to the right ones"
            )
        return data

    def fit(
        self,
        data: Preprocessed,
        inputs: TrainingInputs,
        config: TowerConfig,
        settings: TrainingSettings,
        path: Path,
        after_epoch: AfterEpoch | None = None,
    ) -> TrainingResult:
        """:func:`hm_utils.training.fit.fit`."""
        return fit.fit(data, inputs, config, settings, path, after_epoch)

    def fit_everything(
        self, data: Preprocessed, training: TrainingData, config: TowerConfig, settings: TrainingSettings, path: Path
    ) -> TrainingResult:
        """:func:`hm_utils.training.fit.fit_everything`."""
        return fit.fit_everything(data, training, config, settings, path)

    def refit(self, data: Preprocessed, checkpoint: Path, refit_path: Path, device: str = "auto") -> Refit:
        """:func:`hm_utils.training.refit.refit`."""
        return refit.refit(data, checkpoint, refit_path, device, self.fit_everything)

    def rank(self, snapshot: Snapshot, customers: Int32, scoring: Scoring, directory: Path) -> Int32:
        """The first 100 of :meth:`Snapshot.rank`; ``directory`` is the preprocessed folder of the snapshot's log."""
        return snapshot.rank(customers, scoring=scoring)

    def recommend(self, recommender: Recommender, rows: Int64, top_k: int) -> Recommended:
        """:func:`hm_utils.serving.batch.recommend_in_chunks`."""
        return recommend_in_chunks(recommender, rows, top_k)


@dataclass(frozen=True)
class OnRay(Local):
    """A cluster (``RAY_ADDRESS``), or ``num_workers`` processes of this machine.

    All folders are on a file system that the machines share. Every method can also raise ClusterError.
    """

    num_workers: int

    def device(self, device: str) -> str:
        return f"{self.num_workers} workers of Ray"

    def read_raw(
        self, data_dir: str | Path, article_columns: Sequence[str] = (), customer_columns: Sequence[str] = ()
    ) -> RawTables:
        """:func:`hm_utils.cluster.reading.read_raw`: each table may be many parts, in a folder or an object store."""
        from hm_utils.cluster.reading import read_raw

        return read_raw(data_dir, self.num_workers, article_columns=article_columns, customer_columns=customer_columns)

    def fingerprint(self, data_dir: str | Path) -> str:
        from hm_utils.cluster.reading import fingerprint

        return fingerprint(data_dir)

    def preprocess(self, tables: RawTables, directory: Path, **parameters: Any) -> Preprocessed:
        from hm_utils.cluster.preprocessing import preprocess
        from hm_utils.cluster.reading import ShardedTables

        assert isinstance(tables, ShardedTables)
        return preprocess(tables, directory, **parameters)

    def fit(
        self,
        data: Preprocessed,
        inputs: TrainingInputs,
        config: TowerConfig,
        settings: TrainingSettings,
        path: Path,
        after_epoch: AfterEpoch | None = None,
    ) -> TrainingResult:
        # The epochs end in other processes, which have no cell to draw in: after_epoch is not called.
        return self._train(data, data.directory / "training", config, settings, path, data.fingerprint, validated=True)

    def fit_everything(
        self, data: Preprocessed, training: TrainingData, config: TowerConfig, settings: TrainingSettings, path: Path
    ) -> TrainingResult:
        folder = path.absolute().with_name(path.name + ".training")
        shutil.rmtree(folder, ignore_errors=True)
        training.save(folder)
        try:
            fingerprint = fit.refit_fingerprint(data)
            return self._train(data, folder, config, settings, path, fingerprint, validated=False)
        finally:
            shutil.rmtree(folder)

    def _train(
        self,
        data: Preprocessed,
        training: Path,
        config: TowerConfig,
        settings: TrainingSettings,
        path: Path,
        fingerprint: str,
        validated: bool,
    ) -> TrainingResult:
        """Train on the data in the folder ``training``."""
        from hm_utils.cluster.training import train_on_ray

        opens = partial(fit.open_inputs, training, data.directory, settings)
        return train_on_ray(config, opens, settings, path, fingerprint, validated, MONITOR, self.num_workers)

    def rank(self, snapshot: Snapshot, customers: Int32, scoring: Scoring, directory: Path) -> Int32:
        from hm_utils.cluster.ranking import rank

        return rank(snapshot, customers, scoring=scoring, directory=directory, num_workers=self.num_workers)

    def recommend(self, recommender: Recommender, rows: Int64, top_k: int) -> Recommended:
        from hm_utils.cluster.ranking import recommend_in_chunks

        return recommend_in_chunks(recommender, rows, top_k, self.num_workers)


def choose(engine: str, num_workers: int = 1) -> Local:
    """The engine of these parameters.

    Raises:
        ValueError: an unknown engine, or a number of workers that it cannot have.
        ClusterError: "ray", and Ray is not installed.
    """
    if engine not in ("local", "ray"):
        raise ValueError(f'engine must be "local" (this machine) or "ray" (a cluster), not {engine!r}')
    if num_workers < 1:
        raise ValueError(f"num_workers must be 1 or more, not {num_workers}")
    if engine == "ray":
        require_ray()
        return OnRay(num_workers)
    if num_workers > 1:
        raise ValueError(f'num_workers={num_workers} needs engine="ray": "local" is one process, on all of its cores')
    return Local()
