"""The tables that the notebooks show."""
