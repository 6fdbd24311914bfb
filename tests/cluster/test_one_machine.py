"""A run on one machine neither needs nor imports the libraries of a cluster."""

import subprocess
import sys
from pathlib import Path

from hm_utils.sample import write_sample

ROOT = Path(__file__).parents[2]
CODE = """
import sys
sys.modules["ray"] = sys.modules["pymilvus"] = None  # an import fails, as if they were not installed
import hm_utils.pipeline.__main__, hm_utils.recommend, hm_utils.serving.publishing
import hm_utils.cluster.preprocessing, hm_utils.cluster.ranking
from pathlib import Path
from hm_utils import engines
from hm_utils.training.fit import tower_config, training_inputs
from hm_utils.training.loop import TrainingSettings
raw, made, checkpoint, refitted = map(Path, sys.argv[1:])
engine = engines.choose("local")
data = engine.preprocess(engine.read_raw(raw), made, val_days=5, test_days=6, train_weeks=6)
settings = TrainingSettings(batch_size=256, num_epochs=1, history_length=5, device="cpu")
inputs = training_inputs(data.log, data.training, settings)
engine.fit(data, inputs, tower_config(data.training, 8, [16], 8), settings, checkpoint)
engine.refit(data, checkpoint, refitted, "cpu")
"""


def test_one_machine_does_without_ray_and_milvus(tmp_path):
    write_sample(tmp_path / "raw", "tiny")
    paths = [str(tmp_path / name) for name in ("raw", "made", "best.pt", "refitted.pt")]
    subprocess.run([sys.executable, "-c", CODE, *paths], check=True, cwd=ROOT, timeout=120, stdout=subprocess.DEVNULL)
    assert (tmp_path / "made" / "manifest.json").exists()
    assert (tmp_path / "refitted.pt").exists()
