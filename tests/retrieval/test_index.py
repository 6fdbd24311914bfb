"""ScaNN and exact search give the same exact scores, and the module hides ScaNN's traps."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hm_utils.arrays import Float32
from hm_utils.retrieval import index as index_module
from hm_utils.retrieval.index import ExactIndex, ScannIndex, build_index, load_index
from tests.helpers.vectors import (
    exact_ranking,
    needs_scann,
    scann_missing,
    unit,
)


def test_exact_equals_a_full_sort(vectors: Float32, queries: Float32) -> None:
    ids, scores = ExactIndex(vectors, np.arange(len(vectors), dtype=np.int32)).search(queries, 100)
    expected_ids, expected_scores = exact_ranking(vectors, queries, 100)
    assert ids.dtype == np.int32
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, expected_scores, atol=1e-6)
    # Only neighbours whose difference is below float32 precision may change places.
    assert (ids == expected_ids).mean() > 0.999


def test_scores_are_the_same_bits_in_every_kind_and_batch(
    vectors: Float32, queries: Float32, scann_index: ScannIndex
) -> None:
    for index in (build_index(vectors, "exact"), scann_index):
        ids, scores = index.search(queries, 50)
        for size in (1, 7):
            parts = [index.search(queries[start : start + size], 50) for start in range(0, len(queries), size)]
            np.testing.assert_array_equal(np.concatenate([part[0] for part in parts]), ids)
            np.testing.assert_array_equal(np.concatenate([part[1] for part in parts]), scores)
        assert (np.diff(scores, axis=1) <= 0).all()
    exact_ids, exact_scores = build_index(vectors, "exact").search(queries, 50)
    common = (ids == exact_ids) & (np.arange(50) < 5)
    assert common.any()
    np.testing.assert_array_equal(scores[common], exact_scores[common])


def test_a_shorter_ranking_is_the_start_of_a_longer_one(
    vectors: Float32, queries: Float32, scann_index: ScannIndex
) -> None:
    for index in (build_index(vectors, "exact"), scann_index.with_settings(2, 300)):
        longest, _ = index.search(queries, 150)
        for k in (1, 10, 100):
            np.testing.assert_array_equal(index.search(queries, k)[0], longest[:, :k])


@needs_scann
def test_equal_scores_are_in_order_of_the_article() -> None:
    rng = np.random.default_rng(2)
    vectors = np.repeat(unit(rng.normal(size=(60, 16))), 50, axis=0)[rng.permutation(3_000)]
    exact_ids, exact_scores = build_index(vectors, "exact").search(vectors[:40], 70)
    assert (exact_scores[:, 0] == exact_scores[:, 49]).all()
    assert (exact_scores[:, 49] > exact_scores[:, 50]).all()
    assert (np.diff(exact_ids[:, :50], axis=1) > 0).all()
    scann_ids, scann_scores = build_index(vectors, "scann", leaves_to_search=1_000).search(vectors[:40], 70)
    np.testing.assert_array_equal(scann_scores, exact_scores)
    np.testing.assert_array_equal(scann_ids, exact_ids)


def test_equal_articles_are_ranked() -> None:
    vectors = np.tile(unit(np.ones((1, 8))), (2_000, 1))
    ids, _ = build_index(vectors, "exact").search(vectors[:2], 300)
    np.testing.assert_array_equal(ids, np.tile(np.arange(300), (2, 1)))


@needs_scann
@pytest.mark.parametrize(("kind", "leaves"), [("exact", 1), ("scann", 1), ("scann", 100)])
def test_short_catalogue_is_padded(kind: index_module.Kind, leaves: int) -> None:
    vectors = unit(np.random.default_rng(3).normal(size=(20, 8)))
    ids, scores = build_index(vectors, kind, leaves_to_search=leaves).search(vectors[:3], 30)
    assert ids.shape == scores.shape == (3, 30)
    assert (ids[:, 20:] == -1).all()
    assert np.isneginf(scores[:, 20:]).all()
    np.testing.assert_array_equal(np.sort(ids[:, :20], axis=1), np.tile(np.arange(20), (3, 1)))
    assert (ids[:, 0] == np.arange(3)).all()
    assert np.isfinite(scores[:, :20]).all()


def test_a_query_whose_leaves_are_too_small_is_searched_exactly(vectors: Float32, queries: Float32) -> None:
    if scann_missing():
        pytest.skip("ScaNN has no wheel for this machine")
    index = build_index(vectors, "scann", leaves=400, leaves_to_search=1)
    assert isinstance(index, ScannIndex)
    _, distance = index.searcher.search_batched(queries, 100)
    assert np.isnan(distance).any(), "no query had too few candidates"
    ids, scores = index.search(queries, 100)
    assert (ids >= 0).all()
    assert np.isfinite(scores).all()
    assert all(len(set(row)) == 100 for row in ids.tolist())


def test_rankings_deeper_than_the_candidates_are_exact(
    vectors: Float32, queries: Float32, scann_index: ScannIndex
) -> None:
    shallow = scann_index.with_settings(1, 300)
    exact = build_index(vectors, "exact")
    np.testing.assert_array_equal(shallow.search(queries[:20], 151)[0], exact.search(queries[:20], 151)[0])
    np.testing.assert_array_equal(shallow.search(queries[:2], 9_000)[0], exact.search(queries[:2], 9_000)[0])


def test_small_catalogues_are_searched_exactly(vectors: Float32) -> None:
    for n in (1, 2, 15, 16, 999):
        index = build_index(vectors[:n])
        assert index.kind == "exact"
        assert index.search(vectors[:1], 1)[0].tolist() == [[0]]


@needs_scann
def test_scann_refuses_what_it_cannot_hash(vectors: Float32) -> None:
    with pytest.raises(ValueError, match='16 rows or more, not 15: use kind="auto"'):
        build_index(vectors[:15], "scann")
    assert build_index(vectors[:16], "scann").search(vectors[:1], 1)[0].tolist() == [[0]]


@pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0])
def test_vectors_without_direction_are_refused_before_the_build(vectors: Float32, bad: float) -> None:
    broken = vectors[:2_000].copy()
    broken[[7, 11]] = bad
    with pytest.raises(ValueError, match=r"article vectors: 2 of 2000 rows .* row 7"):
        build_index(broken)
    for index in (build_index(vectors[:2_000]), build_index(vectors[:2_000], "exact")):
        with pytest.raises(ValueError, match=r"queries: 2 of 2000 rows .* row 7"):
            index.search(broken, 5)


def test_bad_arguments_say_what_is_wrong(vectors: Float32) -> None:
    with pytest.raises(ValueError, match=r"must have shape \[n, d\], not \[32\]"):
        build_index(vectors[0])
    with pytest.raises(ValueError, match=r"queries must have shape \[n, 32\], not \[2, 31\]"):
        build_index(vectors[:50]).search(vectors[:2, :31], 5)
    with pytest.raises(ValueError, match="k must be 1 or more"):
        build_index(vectors[:50]).search(vectors[:2], 0)
    with pytest.raises(ValueError, match="not a single row"):
        build_index(vectors[:0])
    with pytest.raises(ValueError, match="strictly ascending"):
        build_index(vectors[:3], ids=[0, 2, 1])
    with pytest.raises(ValueError, match="not 'faiss'"):
        build_index(vectors, "faiss")  # type: ignore[arg-type]


@needs_scann
@pytest.mark.parametrize("kind", ["exact", "scann"])
def test_saved_moved_and_loaded_index_answers_the_same(
    vectors: Float32, queries: Float32, kind: index_module.Kind, tmp_path: Path
) -> None:
    ids = np.arange(0, 3 * len(vectors), 3, dtype=np.int32)
    built = build_index(vectors, kind, ids=ids, leaves_to_search=5)
    before = built.search(queries, 100)
    assert (before[0] % 3 == 0).all()
    assert before[0].max() > len(vectors)
    built.save(tmp_path / "written")
    (tmp_path / "written").rename(tmp_path / "moved")  # publishing renames the folder
    loaded = load_index(tmp_path / "moved")
    assert loaded.kind == kind
    for found, expected in zip(loaded.search(queries, 100), before, strict=True):
        np.testing.assert_array_equal(found, expected)
    if kind == "scann":
        assert str(tmp_path) not in (tmp_path / "moved" / "scann" / "scann_assets.pbtxt").read_text()
        shutil.rmtree(tmp_path / "moved" / "scann")
        with pytest.raises(FileNotFoundError, match="scann_assets"):
            load_index(tmp_path / "moved")


def test_saving_again_leaves_a_mapped_index_whole(vectors: Float32, queries: Float32, tmp_path: Path) -> None:
    build_index(vectors[:3_000], "exact").save(tmp_path)
    loaded = load_index(tmp_path)
    before = loaded.search(queries, 10)[0]
    build_index(vectors[3_000:4_500]).save(tmp_path)
    np.testing.assert_array_equal(loaded.search(queries, 10)[0], before)
    assert len(load_index(tmp_path)) == 1_500


def test_files_that_do_not_belong_together_are_refused(vectors: Float32, tmp_path: Path) -> None:
    build_index(vectors[:100]).save(tmp_path)
    np.save(tmp_path / "ids.npy", np.arange(99, dtype=np.int32))
    with pytest.raises(ValueError, match="do not belong together"):
        load_index(tmp_path)


def scann_array(name: str, change: Callable[[Any], Any]) -> Callable[[Path], object]:
    def alter(folder: Path) -> None:
        values = np.load(folder / "scann" / f"{name}.npy")
        np.save(folder / "scann" / f"{name}.npy", change(values))

    return alter


def settings(**changes: int) -> Callable[[Path], object]:
    def alter(folder: Path) -> None:
        facts = json.loads((folder / "index.json").read_text())
        (folder / "index.json").write_text(json.dumps(facts | changes))

    return alter


@needs_scann
@pytest.mark.parametrize(
    "alter",
    [
        pytest.param(scann_array("dataset", lambda a: a[:-1]), id="a row less"),
        pytest.param(scann_array("dataset", lambda a: a[:, :-1].copy()), id="a dimension less"),
        pytest.param(scann_array("hashed_dataset", lambda a: a[:1]), id="one hashed row"),
        pytest.param(scann_array("hashed_dataset", lambda a: a[:, :1].copy()), id="one hashed dimension"),
        pytest.param(scann_array("datapoint_to_token", lambda a: a[:5]), id="rows without a leaf"),
        pytest.param(scann_array("datapoint_to_token", lambda a: a + 10_000), id="leaves that do not exist"),
        pytest.param(lambda folder: os.truncate(folder / "scann" / "dataset.npy", 4_000), id="a file cut"),
        pytest.param(settings(leaves_to_search=0), id="no leaf searched"),
        pytest.param(settings(leaves_to_search=10**6), id="more leaves than there are"),
        pytest.param(settings(reorder=-5), id="fewer candidates than none"),
    ],
)
def test_arrays_that_do_not_fit_never_reach_scann(
    scann_index: ScannIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, alter: Callable[[Path], object]
) -> None:
    scann_index.save(tmp_path)
    assert isinstance(load_index(tmp_path), ScannIndex)
    alter(tmp_path)
    monkeypatch.setattr(index_module.import_scann(), "load_searcher", lambda *arguments, **options: pytest.fail("read"))
    with pytest.raises(ValueError, match=r"."):
        load_index(tmp_path)


@needs_scann
def test_a_pickle_among_the_files_is_never_loaded(scann_index: ScannIndex, tmp_path: Path) -> None:
    scann_index.save(tmp_path)
    (tmp_path / "scann" / "scann_docids.pkl").write_bytes(b"cos\nsystem\n(S'touch pwned'\ntR.")
    with pytest.raises(ValueError, match="never loaded"):
        load_index(tmp_path)


@needs_scann
def test_the_same_vectors_give_the_same_index(vectors: Float32, queries: Float32) -> None:
    first, second = (build_index(vectors, leaves_to_search=2).search(queries, 100)[0] for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_without_scann_search_is_exact(
    vectors: Float32,
    queries: Float32,
    scann_index: ScannIndex,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    scann_index.save(tmp_path)
    for name in [name for name in sys.modules if name.split(".")[0] == "scann"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "scann", None)  # what an import of it finds where there is no wheel
    with caplog.at_level(logging.WARNING):
        assert build_index(vectors).kind == "exact"
    assert not caplog.records
    with pytest.raises(ImportError, match='kind="exact"'):
        build_index(vectors, "scann")
    loaded = load_index(tmp_path)
    assert loaded.kind == "exact"
    assert "cannot be imported" in caplog.text
    np.testing.assert_array_equal(loaded.search(queries, 9)[0], build_index(vectors, "exact").search(queries, 9)[0])


def test_importing_the_module_does_not_import_scann() -> None:
    heavy = ("scann", "torch", "pandas")
    code = f"import sys, json, hm_utils.retrieval.index; print(json.dumps([m for m in {heavy} if m in sys.modules]))"
    root = Path(__file__).parents[2]
    answer = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert json.loads(answer.stdout) == []


@needs_scann
def test_scanns_log_lines_stay_out_of_the_output(vectors: Float32, capfd: pytest.CaptureFixture[str]) -> None:
    build_index(vectors[:1_000], "scann")
    os.write(2, b"still there")
    assert capfd.readouterr().err == "still there"
