"""From the three raw CSV files to everything that training needs: ours, and what one would write without it.

    python -m hm_utils.sample --size full --out data/full
    python -m benchmarks.reading --data-dir data/full [--only ours pandas polars] [--repeats 3] [--json out.json]

Every row does the same job with the notebooks' default parameters, in a process of its own and with the files in the
page cache. The job: read; give ids row numbers; sort the purchases by customer and day; code the categorical columns,
price and age; make one example a distinct (customer, article, day) of the last weeks before validation, with articles
on sale that week that the customer had not bought as negatives; save everything. The counts in the JSON (customers,
purchases, examples, ...) say whether the rows did the same.

* ours: `raw.read_raw` and `preprocessing.preprocess`, as notebook 02 calls them. Ours alone also checks every row and
  reports what is wrong, fits vocabularies on the training days only, draws negatives until none was bought, and
  writes and verifies checksums of the raw and the saved files. The other rows do less.
* pandas, LabelEncoder: the usual recipe of a notebook. `read_csv` with its default engine, sklearn's
  `LabelEncoder` for ids and categories, `sort_values`, `drop_duplicates`, a hash set of what was bought, Parquet.
* pandas, factorize: `pd.factorize` instead, which makes no Python object of an id and looks each up once.
* pandas, factorize, pyarrow: `read_csv(engine="pyarrow")` as well, which reads in parallel.
* polars: the scan of the purchases is joined with the two listings by the streaming engine; categories by dense
  rank; a semi-join finds the negatives that were bought; Parquet.

Nothing loops over rows. pandas and polars share the NumPy that draws negatives (a bought one is drawn once more) and
gathers histories. Ours leaves histories to the batches, so padded arrays of them are not part of the job: every row
makes them after it, timed apart, by index arithmetic on the sorted log rather than by `groupby`.
"""

from __future__ import annotations

import argparse
import inspect
import logging
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from benchmarks.measuring import machine, measured, save
from hm_utils.files import repository_root, resolve
from hm_utils.pipeline.notebook_facts import peak_gib

# What only one row needs is imported in its function, before its clock starts: no row carries another's libraries.

logger = logging.getLogger(__name__)

PARTS = ("ours", "pandas", "polars")
FILES = ("articles.csv", "customers.csv", "transactions_train.csv")
NOTEBOOKS = ("02_preprocessing", "03_training")  # whose parameters are the settings
CHUNK = 1 << 18  # examples whose histories are gathered at once

Integers = npt.NDArray[np.integer]
Settings = dict[str, Any]
Run = dict[str, Any]  # seconds, peak GiB, stages, counts, what the histories cost; or error


class Clock:
    """Wall seconds of one stage after another."""

    def __init__(self) -> None:
        self.stages: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, stage: str) -> None:
        """The stage ends now, and the next begins."""
        now = time.perf_counter()
        self.stages[stage] = now - self._last
        self._last = now


def result(clock: Clock, make_histories: Callable[[], int], counts: Run) -> Run:
    """What a row returns: the job as the clock has it, then the histories, which are made (and counted) here."""
    stages, peak = dict(clock.stages), peak_gib()
    clock.lap("counting")
    known = make_histories()
    clock.lap("histories")
    return {
        "seconds": sum(stages.values()),
        "peak GiB": peak,
        "stages": stages,
        "histories": {"seconds": clock.stages["histories"], "peak GiB": peak_gib()},
        "counts": {**counts, "purchases in histories": known},
    }


# ---- ours ----------------------------------------------------------------------------------------


def ours(folder: Path, out: Path, settings: Settings) -> Run:
    """Preprocess ``folder`` into ``out`` as notebook 02 does."""
    from hm_utils.data.examples import gather_histories
    from hm_utils.data.preprocessing import preprocess
    from hm_utils.data.raw import read_raw

    names = ("val_days", "test_days", "train_weeks", "negatives_per_positive", "seed")
    clock = Clock()
    tables = read_raw(folder)
    clock.lap("reading")
    data = preprocess(tables, out / "preprocessed", **{name: settings[name] for name in names})
    clock.lap("the rest")
    log, examples = data.log, data.training.examples

    def histories() -> int:
        ends = log.history_ends(examples.customer, examples.day)
        padded = Padded.empty(len(examples), settings["history_length"])
        for part in padded.parts():
            found = gather_histories(log, examples.customer[part], ends[part], examples.day[part], padded.length)
            padded.put(part, found.articles, found.days_since, found.mask)
        return padded.save(out)

    counts = {
        "customers": log.n_customers,
        "articles": log.n_articles,
        "purchases": len(log),
        "training purchases": int((log.day < data.split.train_end).sum()),
        "examples": len(examples),
        "negatives": 0 if examples.negatives is None else examples.negatives.size,
    }
    return result(clock, histories, counts)


# ---- what the rows share -------------------------------------------------------------------------


@dataclass
class Padded:
    """Histories, newest purchase first: articles and days since, both ``[n, length]``, 0 where padded."""

    articles: npt.NDArray[np.int32]
    days_since: npt.NDArray[np.int32]
    known: int = 0  # purchases in them

    @classmethod
    def empty(cls, n: int, length: int) -> Padded:
        return cls(np.zeros((n, length), np.int32), np.zeros((n, length), np.int32))

    @property
    def length(self) -> int:
        return self.articles.shape[1]

    def parts(self) -> list[slice]:
        """Some rows at a time, so that the int64 in between stay small."""
        return [slice(start, start + CHUNK) for start in range(0, len(self.articles), CHUNK)]

    def put(self, part: slice, articles: Integers, days_since: Integers, mask: npt.NDArray[np.bool_]) -> None:
        self.articles[part], self.days_since[part] = articles, days_since
        self.known += int(mask.sum())

    def save(self, out: Path) -> int:
        """Write both arrays; how many purchases are in them."""
        np.save(out / "history_articles.npy", self.articles)
        np.save(out / "history_days_since.npy", self.days_since)
        return self.known


def histories_of(
    out: Path, customer: Integers, article: Integers, day: Integers, examples: Integers, length: int
) -> int:
    """Save the histories of the ``examples`` (``[n]`` row numbers of the sorted log); how many purchases they hold.

    A customer's purchases strictly before the day are the rows from the customer's first to the basket's first.
    """
    firsts, ends = group_starts(customer)[examples], group_starts(customer, day)[examples]
    padded = Padded.empty(len(examples), length)
    for part in padded.parts():
        rows = ends[part, None] - 1 - np.arange(length)
        mask = rows >= firsts[part, None]
        rows = np.where(mask, rows, 0)
        days_since = day[examples[part], None].astype(np.int32) - day[rows]
        padded.put(part, np.where(mask, article[rows], 0), np.where(mask, days_since, 0), mask)
    return padded.save(out)


def group_starts(*columns: Integers) -> npt.NDArray[np.intp]:
    """``[n]`` for each row of a sorted table, the first of the rows that equal it in these columns."""
    new = np.zeros(len(columns[0]), dtype=bool)
    new[:1] = True
    for column in columns:
        new[1:] |= column[1:] != column[:-1]
    return np.maximum.accumulate(np.where(new, np.arange(len(new)), 0))


@dataclass(frozen=True)
class OnSale:
    """What was sold in each week: ``articles`` in order of week, those of week w from ``starts[w]`` on."""

    articles: Integers
    starts: Integers
    sizes: Integers

    @classmethod
    def of(cls, weeks: Integers, articles: Integers) -> OnSale:
        """From distinct (week, article), in order of week."""
        sizes = np.bincount(weeks)
        return cls(articles, np.cumsum(sizes) - sizes, sizes)

    def draw(self, weeks: Integers, rng: np.random.Generator) -> Integers:
        """``[n]`` an article for each of the weeks."""
        return self.articles[self.starts[weeks] + rng.integers(self.sizes[weeks])]


# ---- pandas --------------------------------------------------------------------------------------


def with_pandas(folder: Path, out: Path, settings: Settings, encoder: str, engine: Literal["c", "pyarrow"]) -> Run:
    """``encoder`` is LabelEncoder or factorize, ``engine`` is `read_csv`'s."""
    from hm_utils.data.features import AGE_EDGES, ARTICLE_COLUMNS, CUSTOMER_COLUMNS, PRICE_BUCKETS

    label_encoder = import_module("sklearn.preprocessing").LabelEncoder if encoder == "LabelEncoder" else None

    def codes(column: pd.Series) -> Integers:
        if label_encoder:
            return label_encoder().fit_transform(column.astype("str").fillna("missing"))
        return pd.factorize(column)[0] + 1  # 0 where empty

    def row_numbers(ids: pd.Series, listing: pd.Series) -> Integers:
        if label_encoder:
            return label_encoder().fit(listing).transform(ids).astype(np.int32)
        places, distinct = pd.factorize(ids)
        return pd.Index(listing).get_indexer(distinct).astype(np.int32)[places]

    clock = Clock()
    articles = pd.read_csv(folder / FILES[0], dtype={"article_id": "str"}, engine=engine)
    customers = pd.read_csv(folder / FILES[1], engine=engine)
    # parse_dates would make a Python object of every date that the pyarrow engine reads.
    types: dict[str, Any] = {"dtype": {"article_id": "str"}, "parse_dates": ["t_dat"]}
    if engine == "pyarrow":
        types = {"dtype": {"article_id": "str", "t_dat": "datetime64[s]"}}
    log = pd.read_csv(folder / FILES[2], engine=engine, **types)
    articles = articles.sort_values("article_id", ignore_index=True)
    customers = customers.sort_values("customer_id", ignore_index=True)
    log["customer"] = row_numbers(log.pop("customer_id"), customers["customer_id"])
    log["article"] = row_numbers(log.pop("article_id"), articles["article_id"])
    clock.lap("reading")

    dates = log.pop("t_dat")
    log["day"] = (dates - dates.min()).dt.days.astype(np.int16)
    log = log.astype({"price": np.float32, "sales_channel_id": np.int8})
    log = log.sort_values(["customer", "day"], ignore_index=True)
    train_end = int(log["day"].max()) + 1 - settings["val_days"] - settings["test_days"]
    train = log[log["day"] < train_end]

    article_codes = pd.DataFrame({name: codes(articles[name]) for name in ARTICLE_COLUMNS})
    prices = train.groupby("article")["price"].mean()
    buckets = pd.qcut(prices, PRICE_BUCKETS, labels=False, duplicates="drop") + 1
    article_codes["price"] = buckets.reindex(range(len(articles)), fill_value=0)
    customer_codes = pd.DataFrame({name: codes(customers[name]) for name in CUSTOMER_COLUMNS[1:]})
    customer_codes["age"] = pd.cut(customers["age"], [0, *AGE_EDGES, np.inf], right=False, labels=False)

    first = train_end - 7 * settings["train_weeks"]
    examples = train.loc[train["day"] >= first, ["customer", "article", "day"]].drop_duplicates()
    examples = examples.sort_values("day", kind="stable")
    recent = train.loc[train["day"] >= first // 7 * 7, ["article", "day"]]
    sold = recent.assign(week=recent["day"] // 7)[["week", "article"]].drop_duplicates().sort_values("week")
    on_sale = OnSale.of(sold["week"].to_numpy(), sold["article"].to_numpy())
    rng = np.random.default_rng(settings["seed"])
    per_positive = settings["negatives_per_positive"]
    weeks = np.repeat(examples["day"].to_numpy() // 7, per_positive)
    negatives = on_sale.draw(weeks, rng)
    bought = pd.unique(train["customer"].astype(np.int64) * len(articles) + train["article"])
    buyers = np.repeat(examples["customer"].to_numpy(np.int64), per_positive)
    again = pd.Series(buyers * len(articles) + negatives).isin(bought).to_numpy()
    negatives[again] = on_sale.draw(weeks[again], rng)
    rows = examples.index.to_numpy()
    names = [f"negative_{number}" for number in range(per_positive)]
    examples = examples.join(pd.DataFrame(negatives.reshape(-1, per_positive), columns=names, index=rows))

    frames = {
        "articles": articles,
        "customers": customers,
        "log": log,
        "article_codes": article_codes,
        "customer_codes": customer_codes,
        "examples": examples,
    }
    for name, frame in frames.items():
        frame.to_parquet(out / f"{name}.parquet", index=False)
    clock.lap("the rest")

    counts = {
        "customers": len(customers),
        "articles": len(articles),
        "purchases": len(log),
        "training purchases": len(train),
        "examples": len(examples),
        "negatives": negatives.size,
    }
    columns = (log["customer"].to_numpy(), log["article"].to_numpy(), log["day"].to_numpy())
    return result(clock, lambda: histories_of(out, *columns, rows, settings["history_length"]), counts)


# ---- polars --------------------------------------------------------------------------------------


def with_polars(folder: Path, out: Path, settings: Settings) -> Run:
    from hm_utils.data.features import AGE_EDGES, ARTICLE_COLUMNS, CUSTOMER_COLUMNS, PRICE_BUCKETS

    # By name, as the types must be right whether it is installed or not.
    pl: Any = import_module("polars")

    def codes(name: str) -> Any:
        return pl.col(name).rank("dense").fill_null(0)

    clock = Clock()
    text_id = {"article_id": pl.String}
    articles = pl.read_csv(folder / FILES[0], schema_overrides=text_id).sort("article_id").with_row_index("article")
    numbers = dict.fromkeys(("FN", "Active", "age"), pl.Float32)
    customers = pl.read_csv(folder / FILES[1], schema_overrides=numbers).sort("customer_id").with_row_index("customer")
    types = {**text_id, "price": pl.Float32, "sales_channel_id": pl.Int8}
    log = (
        pl.scan_csv(folder / FILES[2], schema_overrides=types, try_parse_dates=True)
        .join(customers.lazy().select("customer_id", "customer"), on="customer_id")
        .join(articles.lazy().select("article_id", "article"), on="article_id")
        .select("customer", "article", "t_dat", "price", "sales_channel_id")
        .collect(engine="streaming")
    )
    clock.lap("reading")

    log = log.with_columns(day=(pl.col("t_dat") - pl.col("t_dat").min()).dt.total_days().cast(pl.Int16)).drop("t_dat")
    log = log.sort("customer", "day").with_row_index("row")
    train_end = log["day"].max() + 1 - settings["val_days"] - settings["test_days"]
    train = log.filter(pl.col("day") < train_end)

    prices = train.group_by("article").agg(pl.col("price").mean())
    edges = np.unique(np.quantile(prices["price"], np.linspace(0, 1, PRICE_BUCKETS + 1)[1:-1]))
    prices = prices.select("article", price=np.searchsorted(edges, prices["price"], side="right") + 1)
    article_codes = articles.select(*map(codes, ARTICLE_COLUMNS), "article").join(
        prices, on="article", how="left", maintain_order="left"
    )
    article_codes = article_codes.drop("article").fill_null(0)
    ages = np.searchsorted(AGE_EDGES, customers["age"], side="right")
    customer_codes = customers.select(*map(codes, CUSTOMER_COLUMNS[1:])).with_columns(age=ages)

    first = train_end - 7 * settings["train_weeks"]
    examples = train.filter(pl.col("day") >= first).unique(["customer", "article", "day"]).sort("day")
    recent = train.filter(pl.col("day") >= first // 7 * 7)
    sold = recent.select("article", week=pl.col("day") // 7).unique().sort("week")
    on_sale = OnSale.of(sold["week"].to_numpy(), sold["article"].to_numpy())
    rng = np.random.default_rng(settings["seed"])
    per_positive = settings["negatives_per_positive"]
    weeks = np.repeat(examples["day"].to_numpy() // 7, per_positive)
    negatives = on_sale.draw(weeks, rng)
    drawn = pl.DataFrame({"customer": np.repeat(examples["customer"].to_numpy(), per_positive), "article": negatives})
    again = drawn.with_row_index("place").join(train, on=["customer", "article"], how="semi")["place"].to_numpy()
    negatives[again] = on_sale.draw(weeks[again], rng)
    examples = examples.select("customer", "article", "day", "row").with_columns(
        pl.Series("negatives", negatives.reshape(-1, per_positive))
    )

    frames = {
        "articles": articles,
        "customers": customers,
        "log": log.drop("row"),
        "article_codes": article_codes,
        "customer_codes": customer_codes,
        "examples": examples,
    }
    for name, frame in frames.items():
        frame.write_parquet(out / f"{name}.parquet")
    clock.lap("the rest")

    counts = {
        "customers": len(customers),
        "articles": len(articles),
        "purchases": len(log),
        "training purchases": len(train),
        "examples": len(examples),
        "negatives": negatives.size,
    }
    columns = (log["customer"].to_numpy(), log["article"].to_numpy(), log["day"].to_numpy())
    rows = examples["row"].to_numpy()
    return result(clock, lambda: histories_of(out, *columns, rows, settings["history_length"]), counts)


# ---- the table -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """What a row runs, and the library that it needs beyond ours: (as it is imported, as it is installed)."""

    part: str
    work: Callable[..., Run]
    arguments: tuple[str, ...] = ()
    needs: tuple[str, str] | None = None

    @property
    def available(self) -> bool:
        return self.needs is None or find_spec(self.needs[0]) is not None


ROWS = {
    "ours": Row("ours", ours),
    "pandas, LabelEncoder": Row("pandas", with_pandas, ("LabelEncoder", "c"), ("sklearn", "scikit-learn")),
    "pandas, factorize": Row("pandas", with_pandas, ("factorize", "c")),
    "pandas, factorize, pyarrow": Row("pandas", with_pandas, ("factorize", "pyarrow")),
    "polars": Row("polars", with_polars, (), ("polars", "polars")),
}


def run(name: str, folder: Path, settings: Settings) -> Run:
    """One row once, in a process of its own; ``error`` alone if it died."""
    with tempfile.TemporaryDirectory() as out:
        try:
            return measured(ROWS[name].work, folder, Path(out), settings, *ROWS[name].arguments)
        except RuntimeError as error:
            return {"error": str(error)}


def notebook_settings() -> Settings:
    """What the notebooks and `preprocess` take by default."""
    from hm_utils.data.preprocessing import preprocess
    from hm_utils.pipeline.parameters import declared_parameters

    paths = [repository_root() / "notebooks" / f"{name}.ipynb" for name in NOTEBOOKS]
    declared = {name: each.default for path in paths for name, each in declared_parameters(path).items()}
    names = ("val_days", "test_days", "train_weeks", "seed", "history_length")
    per_positive = inspect.signature(preprocess).parameters["negatives_per_positive"].default
    return {"negatives_per_positive": per_positive, **{name: declared[name] for name in names}}


def comparison(rows: dict[str, list[Run]]) -> pd.DataFrame:
    """A line a row: its median run by seconds, beside ours; empty where every run died."""
    median = {}
    for name, runs in rows.items():
        finished = sorted((each for each in runs if "error" not in each), key=lambda each: float(each["seconds"]))
        if finished:
            median[name] = finished[(len(finished) - 1) // 2]
    lines: dict[str, dict[str, float]] = {name: {} for name in rows}
    for name, each in median.items():
        lines[name] = {
            "reading, s": each["stages"]["reading"],
            "the rest, s": each["stages"]["the rest"],
            "seconds": each["seconds"],
            "peak GiB": each["peak GiB"],
            "million rows/s": each["counts"]["purchases"] / each["seconds"] / 1e6,
        }
        if "ours" in median:
            lines[name]["seconds / ours"] = each["seconds"] / median["ours"]["seconds"]
            lines[name]["GiB / ours"] = each["peak GiB"] / median["ours"]["peak GiB"]
        lines[name]["histories, s"] = each["histories"]["seconds"]
        lines[name]["peak GiB with histories"] = each["histories"]["peak GiB"]
    return pd.DataFrame.from_dict(lines, orient="index")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.reading", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data-dir", default="data/full", help="folder of the three CSV files (%(default)s)")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), help="parts to run (all)")
    parser.add_argument("--repeats", type=int, default=1, help="runs a row, in turn; the median is shown (%(default)s)")
    parser.add_argument("--json", type=Path, help="write everything here too")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    folder = resolve(options.data_dir)
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        print(
            f"error: {folder} has no {', '.join(missing)}; "
            f"a synthetic set: python -m hm_utils.sample --out {options.data_dir} --size full",
            file=sys.stderr,
        )
        return 1
    wanted = {name: row for name, row in ROWS.items() if row.part in options.only}
    names = [name for name, row in wanted.items() if row.available]
    for name, row in wanted.items():
        if row.needs and name not in names:
            print(f"{name} is left out: {row.needs[1]} is not installed (`make bench-env`)", file=sys.stderr)
    libraries = ["numpy", "pandas", "pyarrow", *(row.needs[1] for name in names if (row := ROWS[name]).needs)]
    settings = notebook_settings()
    rows: dict[str, list[Run]] = {name: [] for name in names}
    sizes = {name: (folder / name).stat().st_size for name in FILES}
    report = {"settings": settings, "bytes": sizes, "machine": machine(*libraries), "rows": rows}
    for name in FILES:  # into the page cache, or the first row alone would wait for the disk
        with (folder / name).open("rb") as file:
            while file.read(1 << 24):
                pass
    for _ in range(options.repeats):
        for name in names:
            found = run(name, folder, settings)
            rows[name].append(found)
            shown = found.get("error") or f"{found['seconds']:.1f} s, {found['peak GiB']:.2f} GiB, {found['counts']}"
            logger.info("%s: %s", name, shown)
            save(options.json, report)
    print(f"\n{sum(sizes.values()) / 1e9:.2f} GB of CSV; ratios are to ours, histories come after the job.\n")
    print(comparison(rows).to_string(float_format="{:.2f}".format, na_rep="–"))
    for name, runs in rows.items():
        for error in sorted({each["error"] for each in runs if "error" in each}):
            print(f"\ndied: {name}: {error}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
