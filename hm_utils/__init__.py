"""A two-tower recommender for the H&M purchase log: the library that the notebooks tell their story with."""

__version__ = "0.1.0"
