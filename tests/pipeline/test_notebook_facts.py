"""The last cell of a notebook."""

import numpy as np
import pandas as pd

from hm_utils.pipeline.notebook_facts import GIB, footer, peak_gib


def test_the_peak_is_the_largest_memory_so_far():
    before = peak_gib()
    ballast = np.ones(int(1.2 * before * GIB) // 8)
    after = peak_gib()
    assert after > 1.15 * before
    del ballast
    assert peak_gib() == after


def test_the_footer_names_versions_and_the_peak():
    facts = footer("pandas")[""]
    assert facts["pandas"] == pd.__version__
    assert list(facts.index) == ["python", "pandas", "peak memory"]
    assert facts["peak memory"].endswith(" GiB")
