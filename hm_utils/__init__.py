"""A two-tower recommender for the H&M purchase log: the library that the notebooks tell their story with."""

import os

__version__ = "0.1.0"

# Torch's threads wait for one another at every step. By default they wait spinning, and beside another busy program a
# training takes ten times as long. Read when torch is imported; whoever has set it is not overruled.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
