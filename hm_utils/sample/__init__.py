"""A synthetic H&M: articles, customers and purchases of any size, in the real schema, with their ground truth.

    sample = generate("tiny", seed=1)      # tables in memory
    write_sample("data/sample")            # Kaggle's three files, and truth/

The choice model is described in :mod:`.behaviour` and :mod:`.preferences`. tests/sample/test_sample.py has the figures
of the real data that the sample is calibrated to.
"""

from hm_utils.sample.files import write_sample
from hm_utils.sample.sampling import DEFAULT_SEED, SIZES, Sample, SampleSize, generate
from hm_utils.sample.truth import NoTruthError, Truth, oracle_ranking, truth_of

__all__ = [
    "DEFAULT_SEED",
    "SIZES",
    "NoTruthError",
    "Sample",
    "SampleSize",
    "Truth",
    "generate",
    "oracle_ranking",
    "truth_of",
    "write_sample",
]
