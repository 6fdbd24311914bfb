"""The choice between this process and a cluster, and the data that both go on with."""

from __future__ import annotations

from pathlib import Path

import pytest

from hm_utils import engines
from hm_utils.data.preprocessed_folder import PreprocessedError
from hm_utils.data.schema import RawDataError
from hm_utils.sample import write_sample


@pytest.mark.parametrize("engine", [engines.Local(), engines.OnRay(2)], ids=["local", "ray"])
def test_preprocessed_data_of_other_tables_are_refused(tmp_path: Path, engine: engines.Local) -> None:
    own, other, made = tmp_path / "own", tmp_path / "other", tmp_path / "made"
    for folder, seed in ((own, 1), (other, 2)):
        write_sample(folder, "tiny", seed)
    local = engines.Local()
    data = local.preprocess(local.read_raw(own), made, val_days=3, test_days=3, train_weeks=4)
    assert engine.load(made, own).fingerprint == data.fingerprint
    with pytest.raises(PreprocessedError, match=r"made was made from other tables than those in .*other: run notebook"):
        engine.load(made, other)
    with pytest.raises(RawDataError, match="nothing"):
        engine.load(made, tmp_path / "nothing")
