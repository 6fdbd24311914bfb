"""The choice between this process and a cluster, and the data that both go on with."""

from __future__ import annotations

from pathlib import Path

import pytest

from hm_utils import engines
from hm_utils.data.preprocessed_folder import PreprocessedError
from hm_utils.data.preprocessing import Preprocessed
from hm_utils.data.schema import RawDataError
from hm_utils.sample import write_sample
from tests.helpers.notebooks import run_cells

OTHERS = r"made was made from other tables than those in .*other: run notebook"


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds the tables in ``own`` and in ``other``, and ``made``, which was made from ``own``."""
    folder = tmp_path_factory.mktemp("folders")
    for name, seed in (("own", 1), ("other", 2)):
        write_sample(folder / name, "tiny", seed)
    local = engines.Local()
    local.preprocess(local.read_raw(folder / "own"), folder / "made", val_days=3, test_days=3, train_weeks=4)
    return folder


@pytest.mark.parametrize("engine", [engines.Local(), engines.OnRay(2)], ids=["local", "ray"])
def test_preprocessed_data_of_other_tables_are_refused(folders: Path, engine: engines.Local) -> None:
    made = folders / "made"
    assert engine.load(made, folders / "own").fingerprint == Preprocessed.load(made).fingerprint
    with pytest.raises(PreprocessedError, match=OTHERS):
        engine.load(made, folders / "other")
    with pytest.raises(RawDataError, match="nothing"):
        engine.load(made, folders / "nothing")


def test_the_evaluation_refuses_preprocessed_data_of_other_tables(
    folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {"preprocessed_dir": str(folders / "made"), "data_dir": str(folders / "other")}
    with pytest.raises(PreprocessedError, match=OTHERS):
        run_cells("04_evaluation", given | {"artifacts_dir": str(folders / "artifacts")}, monkeypatch)
