"""``python -m hm_utils.pipeline``: the four notebooks by papermill, and their reports."""
