"""The search benchmark on few vectors: every row answers, recall is right, and so is who wins. Speed is not tested."""

import copy
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import search
from hm_utils.serving.bundle import BundleError
from tests.helpers.vectors import exact_ranking, needs_scann, unit

N, QUERIES = 1_200, 30  # enough vectors for our index to be ScaNN's
NUMBERS = ("build s", "MiB", "recall@100", "CPU share") + tuple(
    f"{what}, {way}" for what in ("µs", "queries/s", "× ours") for way in (search.ONE, search.BATCH)
)


def is_installed(candidate: search.Candidate) -> bool:
    try:
        candidate.library()
    except ImportError:
        return False
    return True


@pytest.fixture(scope="module")
def vectors() -> tuple[search.Float32, search.Float32]:
    return search.clustered(N, QUERIES)


@pytest.fixture(params=search.candidates(), ids=lambda candidate: candidate.name)
def candidate(request) -> search.Candidate:
    if not is_installed(request.param):
        pytest.skip(f"{request.param.needs} is not installed")
    return copy.copy(request.param)


# ---- recall --------------------------------------------------------------------------------------


def test_recall_is_the_share_of_the_best_that_is_listed():
    """Scores 1, 0.8, 0.6, 0.6, 0 of the first query: three of four may be the third best."""
    vectors = np.array([[1, 0], [0.8, 0.6], [0.6, 0.8], [0.6, -0.8], [0, 1]], np.float32)
    queries = np.array([[1, 0], [0, 1]], np.float32)
    kth = search.kth_scores(vectors, queries, 3)
    assert kth == pytest.approx([0.6, 0.6])

    def recall(*found: list[int]) -> float:
        return search.recall(vectors, queries, found, kth, 3)

    best = [4, 2, 1]  # for the second query
    assert recall([0, 1, 2], best) == 1
    assert recall([3, 0, 1], best) == 1, "either of the tied is the third"
    assert recall([0, 1, 4], best) == pytest.approx(5 / 6)
    assert recall([0, 1, -1], best) == pytest.approx(5 / 6), "padding is nothing found"
    assert recall([0, 0, 1], best) == pytest.approx(5 / 6), "listed twice is found once"
    assert recall([4, 0, 1, 2], [*best, 0]) == pytest.approx(5 / 6), "the fourth does not count"
    assert recall([0, 1, 99], best) == pytest.approx(5 / 6), "there is no such row"


def test_recall_forgives_rounding_and_no_more():
    vectors = np.array([[1, 0], [0.5, 0], [0.5 - 5e-7, 0], [0.5 - 5e-6, 0]], np.float32)
    queries = np.array([[1, 0]], np.float32)
    kth = search.kth_scores(vectors, queries, 2)
    shares = [search.recall(vectors, queries, [[0, other]], kth, 2) for other in (1, 2, 3)]
    assert shares == [1, 1, 0.5]


def test_the_100th_score_is_that_of_a_full_sort(vectors):
    articles, queries = vectors
    order, scores = exact_ranking(articles, queries, 100)
    kth = search.kth_scores(articles, queries)
    np.testing.assert_allclose(kth, scores[:, -1], rtol=0, atol=1e-12)
    assert search.recall(articles, queries, order, kth) == 1
    worst = exact_ranking(-articles, queries, 100)[0]
    assert search.recall(articles, queries, worst, kth) == 0


# ---- the rows ------------------------------------------------------------------------------------


def test_a_row_answers_one_query_as_it_answers_a_batch(candidate, vectors, tmp_path):
    articles, queries = vectors
    candidate.build(articles)
    candidate.use(candidate.sweeps()[-1][-1])  # the dearest search there is
    together = np.asarray(candidate.batch(queries))
    assert together.shape == (QUERIES, 100)
    assert search.recall(articles, queries, together, search.kth_scores(articles, queries)) > 0.97
    alone = np.stack([np.asarray(candidate.one(query)).reshape(-1) for query in queries])
    shared = [len(np.intersect1d(one, many)) for one, many in zip(alone, together, strict=True)]
    assert min(shared) >= 99, "rounding may decide who is the 100th, and no more"
    candidate.write(tmp_path)
    assert sum(file.stat().st_size for file in tmp_path.rglob("*") if file.is_file()) >= articles.nbytes


def test_a_dearer_setting_finds_more(candidate, vectors):
    articles, queries = vectors
    candidate.build(articles)
    kth = search.kth_scores(articles, queries)
    for sweep in candidate.sweeps():
        if len(sweep) == 1:
            continue
        found = []
        for setting in (sweep[0], sweep[-1]):
            candidate.use(setting)
            found.append(search.recall(articles, queries, candidate.batch(queries), kth))
        assert found[0] < found[1]


@needs_scann
def test_ours_is_searched_as_it_is_published(vectors):
    articles, queries = vectors
    ours = search.Ours(search.OURS)
    ours.build(articles)
    setting = ours.tune(queries, 0.99)
    choice = search.choose_leaves(search.build_index(articles), queries, 100, 0.99)
    assert setting == {name: getattr(choice.index, name) for name in ("leaves", "leaves_to_search", "reorder")}, (
        "another setting than hm_utils.retrieval.index_tuning's"
    )
    np.testing.assert_array_equal(ours.batch(queries), choice.index.search(queries, 100)[0])


# ---- choosing and comparing ----------------------------------------------------------------------


class Pretend(search.Candidate):
    """Answers with so many of the true best as its setting says, and refuses fewer than 10."""

    needs = "numpy"
    share = 0

    def __init__(self, order: search.Ids, *sweeps: range) -> None:
        super().__init__("pretend")
        self.order, self.ranges = order, sweeps

    def build(self, vectors: search.Float32) -> None: ...

    def sweeps(self) -> list[list[search.Setting]]:
        return [[{"share": share, "sweep": at} for share in each] for at, each in enumerate(self.ranges)]

    def use(self, setting: search.Setting) -> None:
        self.share = setting["share"]

    def batch(self, queries: search.Float32) -> search.Ids:
        if self.share < 10:
            raise RuntimeError("too few")
        return np.where(np.arange(100) < self.share, self.order[: len(queries)], -1)

    def write(self, folder: Path) -> None:
        (folder / "index").write_bytes(bytes(2**20))


@pytest.fixture
def order(vectors) -> search.Ids:
    articles, queries = vectors
    return exact_ranking(articles, queries, 100)[0]


def recall_in(vectors: tuple[search.Float32, search.Float32]) -> search.Callable[[search.Ids], float]:
    kth = search.kth_scores(*vectors)
    return lambda found: search.recall(*vectors, found, kth)


def test_the_cheapest_setting_that_reaches_the_recall_is_taken(vectors, order):
    row = search.choose(Pretend(order, range(1, 101)), vectors[1], 0.5, recall_in(vectors))
    assert row["setting"]["share"] == 50
    assert row["recall@100"] == pytest.approx(0.5)
    assert row["reached"] is True
    tried = {each["setting"]["share"]: each["recall"] for each in row["sweep"]}
    assert tried[49] < 0.5, "the next cheaper one was tried too"


def test_where_no_setting_reaches_the_recall_the_best_is_marked(vectors, order):
    row = search.choose(Pretend(order, range(1, 31)), vectors[1], 0.5, recall_in(vectors))
    assert (row["setting"]["share"], row["reached"]) == (30, False)
    assert row["recall@100"] == pytest.approx(0.3)


def test_of_several_sweeps_the_quickest_that_reaches_the_recall_is_taken(vectors, order, monkeypatch):
    costs = {60: 3.0, 50: 1.0, 70: 2.0}
    monkeypatch.setattr(search, "timed_batch", lambda candidate, queries, clock: costs[candidate.share])
    sweeps = (range(60, 100), range(1, 101), range(1, 40), range(70, 72))
    row = search.choose(Pretend(order, *sweeps), vectors[1], 0.5, recall_in(vectors))
    assert row["setting"] == {"share": 50, "sweep": 1}


def test_figures_are_medians_and_ratios_of_them(vectors, order, monkeypatch):
    """Ours takes 2, 6 and 4 µs a query in a batch, the other half; alone it is the other way around."""
    ours, other = Pretend(order, range(100, 101)), Pretend(order, range(100, 101))
    ours.name = search.OURS
    articles, queries = vectors
    in_batches, alone = iter([2.0, 1.0, 6.0, 3.0, 4.0, 2.0]), iter([10.0, 20.0] * 3)
    monkeypatch.setattr(search, "timed_batch", lambda *_: next(in_batches))
    monkeypatch.setattr(search, "timed_one", lambda _, some: next(alone) if len(some) > search.WARM_UP else 0.0)
    progress: list[int] = []
    rows, missing = search.compare(
        articles, queries, [ours, other], repeats=3, progress=lambda rows, missing: progress.append(len(rows))
    )
    assert missing == {}
    assert progress == [1, 2, 2, 2, 2], "what there is, is told after every row and every repeat"
    expected = {
        "MiB": [1, 1],
        f"µs, {search.BATCH}": [4, 2],
        f"µs, {search.ONE}": [10, 20],
        f"queries/s, {search.BATCH}": [250_000, 500_000],
        f"× ours, {search.BATCH}": [1, 2],
        f"× ours, {search.ONE}": [1, 0.5],
    }
    for name, values in expected.items():
        assert [rows[row][name] for row in (search.OURS, "pretend")] == pytest.approx(values), name
    assert search.winners(rows) == {search.ONE: search.OURS, search.BATCH: "pretend"}
    rows["pretend"]["reached"] = False
    assert search.winners(rows)[search.BATCH] == search.OURS, "too low a recall does not win"
    assert "(too low)" in str(search.table(rows).loc["pretend", "recall@100"])


def test_a_missing_package_and_a_refusal_are_lines(vectors, order, monkeypatch):
    monkeypatch.setitem(sys.modules, "hnswlib", None)
    wanted = [search.Ours(search.OURS), search.Hnswlib(16), Pretend(order, range(1, 9))]
    articles, queries = vectors
    rows, missing = search.compare(articles, queries, wanted, repeats=1)
    assert list(rows) == [search.OURS]
    assert missing["hnswlib, M 16"] == "hnswlib is not installed: run `make bench-env`"
    assert "no setting" in missing["pretend"]


@pytest.mark.parametrize(("first", "last"), [(1, 1), (1, 36), (100, 1_200), (100, 40)])
def test_steps_go_from_first_to_last_with_small_gaps(first, last):
    steps = np.array(search.steps(first, last))
    assert steps[0] == first
    assert steps[-1] == max(first, last)
    assert (np.diff(steps) > 0).all()
    assert (np.diff(steps) <= np.maximum(1, 0.1 * steps[:-1] + 1)).all()


# ---- the command ---------------------------------------------------------------------------------


def test_a_run_writes_every_number_of_its_table(tmp_path, capsys):
    out = tmp_path / "out.json"
    arguments = ["--vectors", str(N), "--queries", "25", "--repeats", "1", "--recall", "0.9", "--json", str(out)]
    assert search.main(arguments) == 0
    report, said = json.loads(out.read_text()), capsys.readouterr().out
    assert report["vectors"] == [N, 66]
    assert (report["queries"], report["recall"], report["repeats"]) == (25, 0.9, 1)
    assert report["cores"] >= 1
    assert "torch" in report["versions"]
    assert set(report["rows"]) | set(report["missing"]) == {each.name for each in search.candidates()}
    installed = {each.name for each in search.candidates() if is_installed(each)}
    assert set(report["rows"]) == installed >= {search.OURS, "exact: our ExactIndex", "exact: PyTorch matmul, topk"}
    for name, row in report["rows"].items():
        assert all(np.isfinite(row[number]) and row[number] >= 0 for number in NUMBERS)
        assert row["recall@100"] == 1 if name.startswith("exact") else row["recall@100"] >= 0.9
        line = next(line for line in said.splitlines() if line.startswith(name))
        for number in NUMBERS:
            assert number in said
            digits = 4 if number == "recall@100" else 1 if "µs" in number else 0 if "queries/s" in number else 2
            assert f"{row[number]:,.{digits}f}" in line.split(), number
        assert all(f"{key} {value}" in line for key, value in row["setting"].items())
    for name, why in report["missing"].items():
        assert f"{name} is left out: {why}." in said
    for way, name in report["winners"].items():
        assert f"Most queries a second {way}, of those that reach recall 0.9: {name}," in said


def test_what_is_measured_starts_with_one_thread(monkeypatch):
    """The libraries read these when they are loaded, which is in the new process."""
    for name in search.ONE_THREAD:
        monkeypatch.setenv(name, "2")

    def measured(work, *arguments):
        assert work is search.on_one_core
        assert {os.environ[name] for name in search.ONE_THREAD} == {"1"}
        raise KeyboardInterrupt

    monkeypatch.setattr(search, "measured", measured)
    with pytest.raises(KeyboardInterrupt):
        search.main(["--vectors", "300", "--queries", "5"])
    assert {os.environ[name] for name in search.ONE_THREAD} == {"2"}


def test_rows_timed_beside_other_processes_are_named(monkeypatch, capsys):
    row = dict.fromkeys(NUMBERS, 1.0) | {"setting": {}, "reached": True}
    rows = {search.OURS: row, "busy": {**row, "CPU share": 0.5}}
    monkeypatch.setattr(search, "measured", lambda *_: {"rows": rows, "missing": {}})
    assert search.main(["--vectors", "300", "--queries", "5"]) == 0
    assert "when it is idle: busy." in capsys.readouterr().out


def test_the_vectors_and_queries_are_the_models(tmp_path, monkeypatch):
    """A stand-in for the published model."""
    rng = np.random.default_rng(0)
    articles, customers = unit(rng.normal(size=(250, 10))), unit(rng.normal(size=(40, 8)))

    class Published:
        n_customers = 40

        @classmethod
        def load(cls, path):
            assert path == tmp_path
            return cls()

        def customers(self, rows):
            return rows

        def queries(self, rows):
            return search.fold_customers(customers[rows])

    search.build_index(articles, "exact").save(tmp_path / "index")
    monkeypatch.setattr(search, "Recommender", Published)
    vectors, queries = search.of_model(tmp_path, 30)
    np.testing.assert_array_equal(vectors, articles)
    assert queries.shape == (30, 10)
    assert len(np.unique(queries, axis=0)) == 30, "a customer asks once"
    folded = search.fold_customers(customers)
    assert all((folded == query).all(axis=1).any() for query in queries)
    assert len(search.of_model(tmp_path, 99)[1]) == 40, "there are no more customers"


def test_clustered_vectors_are_unit_vectors_in_clusters():
    articles, queries = search.clustered(1_000, 20)
    assert articles.shape == (1_000, 66)
    assert queries.shape == (20, 66)
    for array in (articles, queries):
        np.testing.assert_allclose(np.linalg.norm(array, axis=1), 1, atol=1e-5)
    embeddings, people = (unit(array[:, :-2]) for array in (articles, queries))  # without what popularity adds
    cosines = exact_ranking(embeddings, embeddings[:50], 1_000)[1]
    assert cosines[:, 1:50].mean() > cosines.mean() + 0.2, "an article has no near ones"
    assert exact_ranking(embeddings, people, 1)[1].mean() > cosines.mean() + 0.2, "a query is near to nothing"


@pytest.mark.parametrize("arguments", [["--model", "no/such/model"], ["--vectors", "150"]])
def test_what_cannot_be_searched_is_an_error(arguments, capsys):
    assert search.main(arguments) == 1
    assert "error:" in capsys.readouterr().err


def test_a_damaged_model_is_an_error(tmp_path, monkeypatch, capsys):
    def load(path):
        raise BundleError(path, "damaged")

    monkeypatch.setattr(search.Recommender, "load", load)
    assert search.main(["--model", str(tmp_path)]) == 1
    assert "damaged" in capsys.readouterr().err
