"""How good a ranking is: metrics, baselines, comparisons and error analysis."""
