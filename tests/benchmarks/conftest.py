"""The tiny sample, written once."""

from __future__ import annotations

from pathlib import Path

import pytest

from hm_utils.sample import write_sample


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("raw")
    write_sample(folder, "tiny")
    return folder
