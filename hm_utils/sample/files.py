"""Write a sample as Kaggle's three CSV files, with its truth beside them."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
from tqdm import tqdm

from hm_utils.sample.sampling import DEFAULT_SEED, Sample, SampleSize, generate

_CHUNK = 1_000_000  # transactions written at a time


def write_sample(
    out_dir: Path | str, size: str | SampleSize = "sample", seed: int = DEFAULT_SEED, progress: bool = False
) -> Path:
    """Make a sample and write it into ``out_dir``, replacing a sample that is there.

    ``articles.csv``, ``customers.csv``, ``transactions_train.csv`` are in Kaggle's format; ``truth/`` is what
    :meth:`Truth.load` reads; ``sample.json`` says how it was made. All of it is written into a folder beside
    ``out_dir``, which then takes its place by a rename: a folder with that name is a complete sample.

    Returns:
        ``out_dir``.

    Raises:
        ValueError: for an unknown size.
        FileExistsError: if ``out_dir`` holds something else than a sample.
    """
    out_dir = Path(out_dir)
    if out_dir.exists() and not out_dir.is_dir():
        raise FileExistsError(f"{out_dir} is a file: the sample needs a folder")
    if out_dir.exists() and any(out_dir.iterdir()) and not (out_dir / "sample.json").exists():
        raise FileExistsError(f"{out_dir} holds something that is not a sample: refusing to replace it")
    sample = generate(size, seed, progress)
    out_dir.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{out_dir.name}-", dir=out_dir.parent))
    try:
        work.chmod(0o755)
        sample.articles.to_csv(work / "articles.csv", index=False)
        sample.customers.to_csv(work / "customers.csv", index=False)
        _write_transactions(sample, work / "transactions_train.csv", progress)
        sample.truth.save(work / "truth")
        facts = {
            "made_by": "hm_utils.sample",
            "seed": seed,
            "customers": len(sample.customers),
            "articles": len(sample.articles),
            "days": sample.truth.days,
            "transactions": len(sample.article),
        }
        (work / "sample.json").write_text(json.dumps(facts, indent=2))
        if out_dir.exists():
            shutil.rmtree(out_dir)
        work.replace(out_dir)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return out_dir


def _write_transactions(sample: Sample, path: Path, progress: bool) -> None:
    """By date, then customer, the pieces of a basket in the order in which they were drawn."""
    order = np.argsort(sample.day, kind="stable")
    customer_ids = pa.array(sample.customers["customer_id"].astype(object), type=pa.string())
    article_ids = pa.array(sample.articles["article_id"].astype(object), type=pa.string())
    dates = pa.array((sample.truth.first_date + np.arange(sample.truth.days)).astype(str).tolist(), type=pa.string())
    options = pa_csv.WriteOptions(include_header=False, quoting_style="none")
    with path.open("wb") as file, tqdm(total=len(order), unit="row", desc=path.name, disable=not progress) as bar:
        file.write(b"t_dat,customer_id,article_id,price,sales_channel_id\n")
        for start in range(0, len(order), _CHUNK):
            rows = order[start : start + _CHUNK]
            # The price is a float32: written with the digits of its float64, rounded, it reads back the same.
            columns = [
                dates.take(pa.array(sample.day[rows])),
                customer_ids.take(pa.array(sample.customer[rows])),
                article_ids.take(pa.array(sample.article[rows])),
                pa.array(np.rint(sample.price[rows].astype(np.float64) * 59_000) / 59_000),
                pa.array(sample.channel[rows]),
            ]
            names = ["t_dat", "customer_id", "article_id", "price", "sales_channel_id"]
            pa_csv.write_csv(pa.table(columns, names=names), file, options)
            bar.update(len(rows))
