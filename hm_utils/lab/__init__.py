"""The laboratory: experiments in a cell. ``docs/laboratory.md`` describes it, ``notebooks/playground.ipynb`` uses it.

from hm_utils.lab import compare_runs, fit, open_model, plot_runs, runs, side_by_side
"""

from hm_utils.lab.experiment import Experiment, fit
from hm_utils.lab.run_tables import compare_runs, plot_runs, runs
from hm_utils.lab.tables import TableRecommender, open_model
from hm_utils.lab.widget import side_by_side

__all__ = [
    "Experiment",
    "TableRecommender",
    "compare_runs",
    "fit",
    "open_model",
    "plot_runs",
    "runs",
    "side_by_side",
]
