"""The choice of the served index. test_bundle and test_end_to_end test publishing itself."""

import numpy as np

from hm_utils.analysis.evaluation_tables import index_summary
from hm_utils.retrieval.index import ScannIndex
from hm_utils.serving import publishing
from hm_utils.serving.publishing import index_for_serving
from tests.helpers.vectors import clustered_vectors, needs_scann, queries_near


@needs_scann
def test_scann_is_served_where_it_finds_enough():
    vectors = clustered_vectors()
    index, choice = index_for_serving(vectors, queries_near(vectors))
    assert isinstance(index, ScannIndex)
    assert choice.index is index
    assert 0.99 <= choice.recall < 1


@needs_scann
def test_exact_search_is_served_with_its_own_figures_where_scann_finds_too_little(monkeypatch, caplog):
    choose = publishing.choose_leaves
    monkeypatch.setattr(publishing, "choose_leaves", lambda index, queries: choose(index, queries, target=1.1))
    vectors = clustered_vectors()
    queries = queries_near(vectors)
    index, choice = index_for_serving(vectors, queries)
    assert index.kind == "exact"
    assert choice.index is index
    assert choice.recall == 1.0
    (setting,) = choice.table
    assert (setting.reorder, setting.leaves_to_search) == (0, 0)
    assert index_summary(index, choice)["microseconds a query"] == f"{setting.microseconds:,.0f}"
    assert "serving exact search" in caplog.text
    np.testing.assert_array_equal(index.vectors, vectors)
