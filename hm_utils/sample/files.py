"""Write a sample as Kaggle's three CSV files, together with its ground truth."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
from tqdm import tqdm

from hm_utils.data.origin import SAMPLE_FACTS, SAMPLE_MAKER
from hm_utils.files import atomic_replace
from hm_utils.sample.sampling import DEFAULT_SEED, Sample, SampleSize, generate

_CHUNK = 1_000_000  # transactions per write


def write_sample(
    out_dir: Path | str, size: str | SampleSize = "sample", seed: int = DEFAULT_SEED, progress: bool = False
) -> Path:
    """Generate a sample and write it into ``out_dir``; a sample that exists there is replaced atomically.

    ``articles.csv``, ``customers.csv`` and ``transactions_train.csv`` are in Kaggle's format. :meth:`Truth.load` reads
    ``truth/``. ``sample.json`` has the size and the seed.

    Returns:
        ``out_dir``.

    Raises:
        ValueError: for an unknown size.
        FileExistsError: if ``out_dir`` is a file, or a folder with other content than a sample.
    """
    out_dir = Path(out_dir)
    if out_dir.exists() and not out_dir.is_dir():
        raise FileExistsError(f"{out_dir} is a file: the sample needs a folder")
    if out_dir.exists() and any(out_dir.iterdir()) and not (out_dir / SAMPLE_FACTS).exists():
        raise FileExistsError(f"{out_dir} holds something that is not a sample: refusing to replace it")
    sample = generate(size, seed, progress)
    with atomic_replace(out_dir) as work:
        work.mkdir()
        sample.articles.to_csv(work / "articles.csv", index=False)
        sample.customers.to_csv(work / "customers.csv", index=False)
        _write_transactions(sample, work / "transactions_train.csv", progress)
        sample.truth.save(work)
        facts = {
            "made_by": SAMPLE_MAKER,
            "seed": seed,
            "customers": len(sample.customers),
            "articles": len(sample.articles),
            "days": sample.truth.days,
            "transactions": len(sample.article),
        }
        (work / SAMPLE_FACTS).write_text(json.dumps(facts, indent=2))
    return out_dir


def _write_transactions(sample: Sample, path: Path, progress: bool) -> None:
    """Write the transactions sorted by date, then customer; the pieces of a basket stay in the order of their draws."""
    order = np.argsort(sample.day, kind="stable")
    customer_ids = pa.array(sample.customers["customer_id"].astype(object), type=pa.string())
    article_ids = pa.array(sample.articles["article_id"].astype(object), type=pa.string())
    dates = pa.array((sample.truth.first_date + np.arange(sample.truth.days)).astype(str).tolist(), type=pa.string())
    options = pa_csv.WriteOptions(include_header=False, quoting_style="none")
    with path.open("wb") as file, tqdm(total=len(order), unit="row", desc=path.name, disable=not progress) as bar:
        file.write(b"t_dat,customer_id,article_id,price,sales_channel_id\n")
        for start in range(0, len(order), _CHUNK):
            rows = order[start : start + _CHUNK]
            # The float32 price is written as a rounded float64, which reads back as the same float32.
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
