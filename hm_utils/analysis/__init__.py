"""Computations and tables behind the notebooks."""
