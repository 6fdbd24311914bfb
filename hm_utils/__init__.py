"""A two-tower recommender for the H&M purchase log: the library that the notebooks tell their story with."""

import os

__version__ = "0.1.0"

# Torch's threads wait for each other many times a step. By default they spin, which takes the core from other
# processes. Training examples a second on two idle cores, and beside one busy program: spinning 23,500 and 8,500;
# sleeping at once 16,200 and 16,000; spinning for some microseconds 21,700 and 11,800. OpenMP reads the variable when
# torch is imported. A setting of the user's takes precedence.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
