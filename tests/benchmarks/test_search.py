"""The search benchmark on few vectors: every row answers, recall is right, and the setting too. Speed is not tested."""

import json

import numpy as np
import pytest

from benchmarks import search
from tests.helpers.vectors import clustered_vectors, exact_ranking, queries_near


@pytest.fixture(scope="module")
def vectors() -> search.Float32:
    return clustered_vectors()[:1_500]  # enough for our index to be ScaNN's


@pytest.fixture(scope="module")
def queries(vectors) -> search.Float32:
    return queries_near(vectors)[:30]


def test_recall_is_the_share_of_the_best_that_is_found():
    """Scores 1, 0.8, 0.6, 0.6, 0 of the first query: three of four may be the third best."""
    vectors = np.array([[1, 0], [0.8, 0.6], [0.6, 0.8], [0.6, -0.8], [0, 1]], np.float32)
    recall = search.recall_of(vectors, np.array([[1, 0], [0, 1]], np.float32), 3)
    best = [4, 2, 1]  # for the second query
    assert recall([[0, 1, 2], best]) == 1
    assert recall([[3, 0, 1], best]) == 1, "either of the tied is the third"
    for found in ([0, 1, 4], [0, 1, -1], [0, 0, 1], [4, 0, 1, 2]):
        assert recall([found, best]) == pytest.approx(5 / 6), "wrong, padded, found twice, or the fourth"


def test_recall_forgives_rounding_and_no_more():
    vectors = np.array([[1, 0], [0.5, 0], [0.5 - 5e-7, 0], [0.5 - 5e-6, 0]], np.float32)
    recall = search.recall_of(vectors, np.array([[1, 0]], np.float32), 2)
    assert [recall([[0, other]]) for other in (1, 2, 3)] == [1, 1, 0.5]


@pytest.mark.parametrize("name", search.ROWS)
def test_a_dearer_setting_finds_more(name, vectors, queries):
    try:
        built = search.ROWS[name](vectors, queries, 0.99)
    except ImportError:
        pytest.skip("its package is not installed")
    recall = search.recall_of(vectors, queries)

    def share(setting: tuple[int, ...]) -> float:
        return recall(built.ask(query, *setting) for query in queries)

    for sweep in built.sweeps:
        assert len(sweep) == 1 or share(sweep[0]) < share(sweep[-1])
    assert share(built.sweeps[-1][-1]) > 0.97


def pretend(vectors: search.Float32, queries: search.Float32, *sweeps: range) -> search.Built:
    """Answers with as many of the true best as its setting says."""
    best = {query.tobytes(): row for query, row in zip(queries, exact_ranking(vectors, queries, 100)[0], strict=True)}
    return search.Built(
        lambda query, share, sweep: best[query.tobytes()][:share],
        [[(share, at) for share in sweep] for at, sweep in enumerate(sweeps)],
    )


@pytest.mark.parametrize(
    ("sweeps", "setting"),
    [
        ([range(1, 101)], (50, 0)),  # the cheapest that reaches the recall
        ([range(1, 31)], (30, 0)),  # none does: the best
        ([range(60, 100), range(1, 101), range(1, 40), range(70, 72)], (50, 1)),  # the fastest of several sweeps
    ],
)
def test_the_cheapest_setting_that_reaches_the_recall_is_taken(vectors, queries, monkeypatch, sweeps, setting):
    monkeypatch.setattr(search, "microseconds", lambda built, setting, queries: setting[0])
    built = pretend(vectors, queries, *sweeps)
    chosen, recall = search.choose(built, queries, 0.5, search.recall_of(vectors, queries))
    assert chosen == setting
    assert recall == pytest.approx(setting[0] / 100)


def test_a_run_has_the_figures_of_every_installed_row(vectors, queries, monkeypatch, tmp_path):
    rows = {name: search.ROWS[name] for name in ("ours", "exact: PyTorch matmul, topk")}
    monkeypatch.setattr(search, "ROWS", rows | {"absent": lambda *_: __import__("no_such")})
    report = search.compare(vectors, queries, 0.9, 2, tmp_path / "out.json")
    assert report["missing"] == ["absent"]
    assert json.loads((tmp_path / "out.json").read_text())["rows"].keys() == rows.keys()
    for runs in report["rows"].values():
        assert len(runs) == 2
        for run in runs:
            assert run["recall@100"] >= 0.9
            assert run["queries/s"] == pytest.approx(1e6 / run["µs"])


def test_a_missing_model_is_an_error(capsys):
    assert search.main(["--model", "no/such/model"]) == 1
    assert "error:" in capsys.readouterr().err
