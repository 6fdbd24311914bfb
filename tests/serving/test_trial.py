"""A model whose checksums match but whose content does not: it is refused, and never by the death of the service."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from hm_utils.arrays import SMALL, mapped
from hm_utils.serving import bundle, publish, trial
from hm_utils.serving.bundle import BundleError
from hm_utils.serving.recommender import Recommender
from hm_utils.serving.trial import try_model
from tests.helpers.files import write_over
from tests.helpers.served import publish_random, reseal


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return publish_random(tmp_path_factory.mktemp("artifacts"))


@pytest.fixture
def copy(published: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(published, tmp_path / published.name))


def array(name: str, change: Callable[[Any], Any]) -> Callable[[Path], None]:
    """Replaces a ``.npy`` file."""

    def alter(folder: Path) -> None:
        values = np.load(folder / name)
        (folder / name).unlink()
        np.save(folder / name, change(values))

    return alter


def put(values: Any, value: Any, place: int = 3) -> Any:
    values.reshape(-1)[place] = value
    return values


def values_of(name: str, **changes: Any) -> Callable[[Path], None]:
    """Replaces entries of a ``.json`` file."""

    def alter(folder: Path) -> None:
        write_over(folder / name, json.dumps(json.loads((folder / name).read_text()) | changes).encode())

    return alter


def table(change: Callable[[pd.DataFrame], pd.DataFrame]) -> Callable[[Path], None]:
    def alter(folder: Path) -> None:
        frame = pd.read_parquet(folder / "articles.parquet")
        (folder / "articles.parquet").unlink()
        change(frame).to_parquet(folder / "articles.parquet", index=False)

    return alter


def cut(name: str) -> Callable[[Path], None]:
    return lambda folder: write_over(folder / name, (folder / name).read_bytes()[: (folder / name).stat().st_size // 2])


def not_utf8(folder: Path) -> None:
    content = (folder / "customers.arrow").read_bytes()
    assert b"ACTIVE" in content
    write_over(folder / "customers.arrow", content.replace(b"ACTIVE", b"\xff\xff\xff\xff\xff\xff"))


def empty(name: str) -> Callable[[Path], None]:
    return lambda folder: write_over(folder / name, b"")


ALTERED = {
    **{f"{name}, cut": cut(name) for name in ("checkpoint.pt", "user_vectors.npy", "log/day.npy", "customers.arrow")},
    **{f"{name}, cut": cut(name) for name in ("articles.parquet", "map.bin", "replay.json", "encoders.json")},
    **{f"{name}, empty": empty(name) for name in ("user_vectors.npy", "index/ids.npy", "scoring.json", "log/log.json")},
    "a header without its end": lambda folder: write_over(folder / "attributes.npy", b"\x93NUMPY\x01\x00\x02\x00{("),
    "an article beyond the catalogue in the log": array("log/article.npy", lambda a: put(a, 40)),
    "a negative article in the log": array("log/article.npy", lambda a: put(a, -1)),
    "a history that goes back": array("log/offsets.npy", lambda a: put(a, 10**6)),
    "a log of fewer customers": array("log/offsets.npy", lambda a: np.append(a[:-2], a[-1])),
    "an attribute without an embedding": array("attributes.npy", lambda a: put(a, 10**6)),
    "customers out of order": array("customer_ids.npy", lambda a: a[::-1]),
    "fewer customers": array("customer_ids.npy", lambda a: a[:-1]),
    "fewer customers' vectors": array("user_vectors.npy", lambda a: a[:-1]),
    "narrow vectors": array("article_vectors.npy", lambda a: a[:, :-1].copy()),
    "no number in a vector": array("article_vectors.npy", lambda a: put(a, np.nan)),
    "no number in the index": array("index/vectors.npy", lambda a: put(a, np.inf)),
    "other articles in the index": array("index/ids.npy", lambda a: a + 1),
    "a variant beyond the catalogue": array("variants/articles.npy", lambda a: put(a, 99)),
    "a product without variants": array("variants/product.npy", lambda a: put(a, 10**6)),
    "floating-point articles": array("log/article.npy", lambda a: a.astype(np.float32)),
    "infinite weights": values_of("scoring.json", taste=float("inf")),
    "other weights": values_of("scoring.json", taste=2.1),
    "no rate of buying again": array("repeat_rates/again.npy", lambda a: put(a, np.nan)),
    "fewer popularities": array("popularity.npy", lambda a: a[:-1]),
    "text that is not UTF-8": not_utf8,
    "articles in another order": table(lambda frame: frame.iloc[::-1]),
    "fewer articles": table(lambda frame: frame.iloc[:-1]),
    "an article twice": table(lambda frame: frame.assign(article_id=frame["article_id"].iloc[0])),
}


@pytest.mark.parametrize("name", ALTERED)
def test_an_altered_model_whose_checksums_match_is_refused(copy: Path, name: str) -> None:
    ALTERED[name](copy)
    with pytest.raises(BundleError):
        Recommender.load(reseal(copy))


def test_an_unaltered_model_is_not(copy: Path) -> None:
    assert Recommender.load(reseal(copy)).n_customers == 60


def golden(folder: Path, **changes: Any) -> dict[str, Any]:
    return json.loads((folder / bundle.MANIFEST).read_text())["golden"] | changes


def test_the_golden_query_allows_rounding_and_no_more(copy: Path) -> None:
    stored = golden(copy)

    def load(by: float) -> Recommender:
        nonlocal copy
        scores = [[score + by for score in row] for row in stored["scores"]]
        copy = reseal(copy, golden=stored | {"scores": scores})
        return Recommender.load(copy)

    load(5e-4)
    for by in (2e-3, -2e-3, float("nan")):
        with pytest.raises(BundleError, match="answers the golden query differently"):
            load(by)


def test_the_golden_query_checks_articles_and_not_the_order_of_equal_ones(copy: Path) -> None:
    stored = golden(copy)
    first, *rest = stored["article_ids"][0]
    for ids, fits in (([*rest, first], True), (["0000000000", *rest], False)):
        copy = reseal(copy, golden=stored | {"article_ids": [ids, *stored["article_ids"][1:]]})
        if fits:
            Recommender.load(copy)
        else:
            with pytest.raises(BundleError, match="answers the golden query differently"):
                Recommender.load(copy)


def test_an_index_that_finds_less_than_when_it_was_published_is_refused(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Recommender, "recall", lambda self: 0.92)
    Recommender.load(reseal(copy, golden=golden(copy, recall=0.925)))
    folder = next(copy.parent.glob("2*"))
    with pytest.raises(BundleError, match=r"finds 92\.0% of the ranking, when it was published 99\.1%"):
        Recommender.load(reseal(folder, golden=golden(folder, recall=0.991)))


def test_the_recall_is_measured_with_customers_queries(published: Path) -> None:
    recommender = Recommender.open(published)
    assert recommender.recall() == 1

    class Half:
        """Every other article of exact search."""

        def __init__(self, exact: Any) -> None:
            self.vectors, self.ids, self._search = exact.vectors, exact.ids, exact.search

        def search(self, queries: Any, k: int) -> Any:
            ids, scores = self._search(queries, k)
            ids[:, ::2] = -1
            return ids, scores

    half: Any = Half(recommender._index)
    assert Recommender(replace(recommender._content, index=half)).recall() == pytest.approx(0.5)


def test_a_model_that_ends_its_process_is_refused(
    published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nkill -SEGV $$\n")
    python.chmod(0o755)
    monkeypatch.setattr(trial.sys, "executable", str(python))
    with pytest.raises(BundleError, match=r"ends the process that opens it \(SIGSEGV\)"):
        try_model(published)


def test_the_trial_says_why(copy: Path) -> None:
    try_model(copy)
    write_over(copy / "map.bin", b"")
    with pytest.raises(BundleError, match=r"map\.bin was altered after it was published") as caught:
        try_model(copy)
    assert str(copy) not in caught.value.problem


def test_published_files_are_read_only(published: Path) -> None:
    assert {path.stat().st_mode & 0o777 for path in published.rglob("*") if path.is_file()} == {0o444}


def test_small_files_are_not_mapped(tmp_path: Path) -> None:
    np.save(tmp_path / "small.npy", np.arange(1_000))
    values = mapped(tmp_path / "small.npy")
    with (tmp_path / "small.npy").open("r+b") as file:
        file.truncate(0)
    assert values.sum() == 499_500
    np.save(tmp_path / "large.npy", np.zeros(SMALL, np.int8))
    assert isinstance(mapped(tmp_path / "large.npy").base, np.memmap)


def test_one_command_goes_back_to_a_version(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = publish_random(tmp_path), publish_random(tmp_path)
    command = ["--artifacts-dir", str(tmp_path)]
    assert publish.main([*command, "--version", first.name]) == 0
    assert capsys.readouterr().out == f"{first.name}  published\n{second.name}\n"
    assert bundle.current(tmp_path) == first.resolve()
    write_over(second / "map.bin", b"")
    for version, problem in ((second.name, "map.bin was altered"), ("../..", "has no version '../..'; it has 2")):
        assert publish.main([*command, "--version", version]) == 1
        assert problem in capsys.readouterr().err
    assert bundle.current(tmp_path) == first.resolve()
