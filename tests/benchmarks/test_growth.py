"""The growth benchmark on tiny sizes. Speed is not tested."""

import numpy as np
import pytest

from benchmarks import growth


def test_exponents_of_known_growth():
    rows = [1e6, 3e6, 1e7]
    assert growth.exponent(rows, [2.0, 6.0, 20.0]) == pytest.approx(1)
    assert growth.exponent(rows, [5.0, 5.0, 5.0]) == pytest.approx(0, abs=1e-9)
    assert np.isnan(growth.exponent(rows[:1], [2.0]))


def test_every_stage_is_measured():
    run = growth.measure(0.002, articles=400, days=150, steps=2)
    assert run["rows"] > 0 < run["customers"]
    assert set(run["seconds"]) == set(growth.STAGES)
    assert all(seconds > 0 for seconds in run["seconds"].values())
    assert all(gib > 0.05 for gib in run["peak GiB"].values())
