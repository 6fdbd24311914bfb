"""The growth benchmark on tiny sizes. Speed is not tested."""

import json

import numpy as np
import pytest

from benchmarks import growth


def test_exponents_of_known_growth():
    rows = [1e6, 3e6, 1e7]
    assert growth.exponent(rows, [2.0, 6.0, 20.0]) == pytest.approx(1)
    assert growth.exponent(rows, [5.0, 5.0, 5.0]) == pytest.approx(0, abs=1e-9)
    assert growth.exponent(rows, [1e-6 * n**1.5 for n in rows]) == pytest.approx(1.5)
    assert np.isnan(growth.exponent(rows[:1], [2.0]))


def test_every_stage_is_measured_at_every_size(tmp_path, capsys):
    small = ["--articles", "400", "--days", "150", "--steps", "2"]
    assert growth.main(["--rows", "0.004", "0.002", *small, "--json", str(tmp_path / "out.json")]) == 0
    report = json.loads((tmp_path / "out.json").read_text())
    first, second = report["runs"]
    assert first["rows"] < second["rows"]
    assert first["customers"] < second["customers"]
    for run in report["runs"]:
        assert set(run["seconds"]) == set(growth.STAGES)
        assert all(seconds > 0 for seconds in run["seconds"].values())
        assert all(gib > 0.05 for gib in run["peak GiB"].values())
    assert set(report["exponents"]) == set(growth.STAGES)
    shown = capsys.readouterr().out
    assert all(stage in shown for stage in growth.STAGES)
    assert "exponent" in shown
