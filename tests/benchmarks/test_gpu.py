"""The GPU benchmark on a tiny sample, on the CPU. Speed is not tested."""

import json
import subprocess
import sys

from benchmarks import gpu
from hm_utils.data.preprocessing import preprocess
from hm_utils.data.raw import read_raw
from hm_utils.files import repository_root
from hm_utils.training import accelerator


def test_every_row_is_measured_and_written(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(gpu, "PROFILED", 2)
    monkeypatch.setattr(gpu, "measured", lambda work, *arguments: {"seconds": 1.0, "peak GiB": 0.5, **work(*arguments)})
    arguments = ["--size", "tiny", "--device", "cpu", "--batch-sizes", "256", "--steps", "3"]
    assert gpu.main([*arguments, "--json", str(tmp_path / "out.json")]) == 0
    report = json.loads((tmp_path / "out.json").read_text())
    training, ranking, parts = report["rows"].values()
    assert report["card"] is None
    assert training["examples/s"] > 0 < training["s a pass"]
    assert 0 < training["train_loss"] < 20
    assert ranking["customers"] == 800
    assert ranking["customers/s"] > 0
    assert all(host > 0 for host, _ in parts["parts"].values()), parts
    shown = capsys.readouterr().out
    assert "tiny: no GPU" in shown
    assert "row-wise Adam" in shown


def test_the_parts_of_a_gpus_steps_are_found(sample, tmp_path, monkeypatch):
    monkeypatch.setattr(gpu, "PROFILED", 2)
    monkeypatch.setattr(accelerator, "used", lambda device: True)
    preprocess(read_raw(sample), tmp_path / "preprocessed")
    parts = gpu.parts(tmp_path / "preprocessed", "cpu", 256)["parts"]
    assert all(host > 0 for host, _ in parts.values()), parts


def test_it_needs_only_what_the_package_brings():
    extras = ("IPython", "matplotlib", "nbformat", "papermill", "jinja2", "fastapi", "ray")
    code = f"import sys; sys.modules.update(dict.fromkeys({extras})); import benchmarks.gpu"
    subprocess.run([sys.executable, "-c", code], cwd=repository_root(), check=True)
