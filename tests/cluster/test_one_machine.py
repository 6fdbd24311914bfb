"""A run on one machine neither needs nor imports what a cluster does."""

import subprocess
import sys
from pathlib import Path

from hm_utils.sample import write_sample

ROOT = Path(__file__).parents[2]


def test_one_machine_does_without_ray_and_milvus(tmp_path):
    write_sample(tmp_path / "raw", "tiny")
    code = """
import sys
sys.modules["ray"] = sys.modules["pymilvus"] = None  # as if they were not installed: an import fails
import hm_utils.recommend, hm_utils.pipeline.__main__, hm_utils.model.snapshot
import hm_utils.serving.publishing, hm_utils.training.fit
import hm_utils.cluster.preprocessing, hm_utils.cluster.reading, hm_utils.cluster.ranking
from pathlib import Path
from hm_utils.data.preprocessing import preprocess
from hm_utils.data.raw import read_raw
preprocess(read_raw(Path(sys.argv[1])), Path(sys.argv[2]), 5, 6, 6)
"""
    command = [sys.executable, "-c", code, str(tmp_path / "raw"), str(tmp_path / "made")]
    subprocess.run(command, check=True, cwd=ROOT, timeout=100)
    assert (tmp_path / "made" / "manifest.json").exists()
