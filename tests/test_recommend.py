"""``python -m hm_utils.recommend``: what it reads and writes, and what it says before it computes anything."""

from __future__ import annotations

import contextlib
import gzip
from pathlib import Path

import pandas as pd
import pytest

from hm_utils import engines, recommend
from tests.helpers.data import article_table, customer_table
from tests.helpers.served import publish_random

IDS = customer_table()["customer_id"].tolist()[:3]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return publish_random(tmp_path_factory.mktemp("artifacts"))


TEXT = "\n".join(IDS)
SUBMISSION = pd.DataFrame({"customer_id": IDS, "prediction": "0706016001 0706016002"}).to_csv(index=False)
FILES = {
    "one a line": TEXT.encode(),
    "with a byte-order mark": TEXT.encode("utf-8-sig"),
    "in capitals, with blanks": TEXT.replace("\n", " \r\n").upper().encode(),
    "sample_submission.csv": SUBMISSION.encode(),
    "with a byte-order mark and a header": SUBMISSION.encode("utf-8-sig"),
    "quoted": pd.DataFrame({"n": 1, "customer_id": IDS}).to_csv(index=False, quoting=1).encode(),
    "gzipped": gzip.compress(SUBMISSION.encode()),
    "Parquet": pd.DataFrame({"customer_id": IDS}).to_parquet(),
}


@pytest.mark.parametrize("content", FILES.values(), ids=FILES)
def test_every_customer_of_a_file_is_found(
    model: Path, content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "ids").write_bytes(content)
    command = ["--model", str(model), "--customers", str(tmp_path / "ids"), "--output", str(tmp_path / "r.parquet")]
    assert recommend.main(command) == 0
    assert "not in the model" not in capsys.readouterr().err
    assert sorted(pd.read_parquet(tmp_path / "r.parquet")["customer_id"].astype(str).unique()) == sorted(IDS)


def test_only_articles_in_stock_are_recommended(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stock = article_table()["article_id"].tolist()[::4]
    (tmp_path / "stock.txt").write_text("\n".join([*stock, "unknown"]))
    command = ["--model", str(model), "--output", str(tmp_path / "r.parquet"), "--stock", str(tmp_path / "stock.txt")]
    assert recommend.main([*command, "--top-k", "5"]) == 0
    assert "1 ids in stock.txt are not in the model" in capsys.readouterr().err
    found = pd.read_parquet(tmp_path / "r.parquet")
    assert set(found["article_id"].astype(str)) <= set(stock)
    assert (found.groupby("customer_id", observed=True).size() == 5).all()


REFUSED = {
    "no stock": (["--output", "r.parquet", "--stock", "nothing"], "nothing cannot be read: No such file"),
    "CSV": (["--output", "recs.csv"], "--output is a .parquet file, not recs.csv"),
    "zip": (["--submission", "x.zip"], "--submission is a .csv or .csv.gz file, not x.zip"),
    "below a file": (["--output", "file/recs.parquet"], "file/recs.parquet cannot be written: "),
    "a folder": (["--submission", "folder.csv"], "folder.csv cannot be written: Is a directory"),
    "UTF-16": (["--output", "r.parquet", "--customers", "utf16"], "utf16 is UTF-16 text"),
    "no file": (["--output", "r.parquet", "--customers", "nothing"], "nothing cannot be read: No such file"),
}


@pytest.mark.parametrize(("arguments", "words"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_is_said_before_anything_is_computed(
    model: Path, arguments: list[str], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(engines.Local, "recommend", lambda *_: pytest.fail("it was computed first"))
    Path("file").touch()
    Path("folder.csv").mkdir()
    Path("utf16").write_text(TEXT, encoding="utf-16")
    with contextlib.suppress(SystemExit):  # of argparse
        assert recommend.main(["--model", str(model), *arguments]) == 1
    assert words in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder.csv", "utf16"]
