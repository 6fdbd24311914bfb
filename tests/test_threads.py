"""How torch's threads wait for one another."""

import os
import subprocess
import sys

import pytest


@pytest.mark.skipif(sys.platform != "linux", reason="another OpenMP says it in other words")
@pytest.mark.parametrize(("given", "rounds"), [({}, 0), ({"GOMP_SPINCOUNT": "1234"}, 1234)])
def test_they_do_not_spin_unless_asked_to(given, rounds):
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    said = subprocess.run(
        [sys.executable, "-c", "import hm_utils.towers"],
        env={**environment, **given, "OMP_DISPLAY_ENV": "verbose"},
        capture_output=True,
        text=True,
        check=True,
    ).stderr
    assert f"GOMP_SPINCOUNT = '{rounds}'" in said
