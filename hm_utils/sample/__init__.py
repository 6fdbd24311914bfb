"""A synthetic H&M: articles, customers and purchases at any size, in the real schema, with their ground truth.

    sample = generate("tiny", seed=1)      # tables in memory
    write_sample("data/sample")            # Kaggle's three files, and truth/ beside them

How customers choose is said in :mod:`.behaviour` and :mod:`.preferences`; which figures of
the real data the result is held to, in tests/test_sample.py.
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
