"""Torch's threads spin for a bounded time while they wait for one another."""

import os
import subprocess
import sys

import pytest


@pytest.mark.skipif(sys.platform != "linux", reason="another OpenMP reports it in another form")
@pytest.mark.parametrize(
    ("given", "rounds"),
    [({}, 1000), ({"GOMP_SPINCOUNT": "1234"}, 1234), ({"OMP_WAIT_POLICY": "PASSIVE"}, 0)],
)
def test_threads_spin_for_a_moment_unless_the_environment_sets_another_time(given, rounds):
    environment = {
        name: value for name, value in os.environ.items() if name not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
    }
    reported = subprocess.run(
        [sys.executable, "-c", "import hm_utils.model.towers"],
        env={**environment, **given, "OMP_DISPLAY_ENV": "verbose"},
        capture_output=True,
        text=True,
        check=True,
    ).stderr
    assert f"GOMP_SPINCOUNT = '{rounds}'" in reported
