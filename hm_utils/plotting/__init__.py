"""The figures that the notebooks show, in one style."""
