"""A two-tower recommender for the H&M purchase log: the library that the notebooks tell their story with."""

import os

__version__ = "0.1.0"

# Torch's threads wait for one another many times a step, by default spinning, which takes the core from whoever has
# work. Examples a second of a training on two idle cores, and beside one busy program: spinning 23,500 and 8,500;
# asleep at once 16,200 and 16,000; spinning for some microseconds 21,700 and 11,800. Read when torch is imported;
# whoever has set either is not overruled.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
