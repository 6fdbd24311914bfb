"""From the three raw CSV files to everything that training needs: ours, pandas, polars, and ours on Ray.

    python -m hm_utils.sample --size full --out data/full
    python -m benchmarks.reading --data-dir data/full [--only ours pandas polars] [--repeats 3] [--json out.json]
    python -m benchmarks.reading --data-dir data/full --only ours ray

Every row does the same job with the notebooks' parameters, in a process of its own, with the files in the page cache:
read; number the ids; sort the purchases by customer and day; code the categorical columns, price and age; one example
for each distinct (customer, article, day) of the last weeks before validation, with articles on sale that week that
the customer had not bought as negatives; save everything. Equal counts in the JSON show that the jobs are the same.

* ours: `read_raw` and `preprocess`, as in notebook 02. Ours alone validates every row, fits vocabularies on training
  days only, draws negatives until none was bought, and writes and verifies checksums.
* pandas: `read_csv`, sklearn's `LabelEncoder` or `pd.factorize` for ids and categories, `sort_values`,
  `drop_duplicates`, a hash set of the purchases, Parquet. "pyarrow" is `read_csv(engine="pyarrow")`, which is parallel.
* polars: a streaming scan of the purchases joined with both tables; dense ranks; a semi-join for bought negatives.
* ray: the purchases in 16 parts, read and preprocessed by one and two workers of one core each on this machine, without
  Ray's start. The peak is the driver's. Needs `make cluster-env`.

Nothing loops over rows. pandas and polars share the NumPy that draws negatives; a bought one is drawn once more.
"""

from __future__ import annotations

import inspect
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from benchmarks.measuring import Run, in_turn, machine, measured, notebook_parameters, parser, show, table
from hm_utils.files import resolve

# The imports of one row are in its function, before its clock starts: no row carries another's libraries.

FILES = ("articles.csv", "customers.csv", "transactions_train.csv")
RAY_PARTS = 16  # files of purchases
COUNTS = ("customers", "articles", "purchases", "training purchases", "examples", "negatives")

Integers = npt.NDArray[np.integer]
Settings = dict[str, Any]


class Clock:
    """Wall seconds of reading and of the rest."""

    def __init__(self) -> None:
        self.start = self.read = time.perf_counter()

    def run(self) -> Run:
        end = time.perf_counter()
        stages = {"reading, s": self.read - self.start, "the rest, s": end - self.read}
        return {"seconds": end - self.start, **stages}


def ours(folder: Path, out: Path, settings: Settings, workers: int = 0) -> Run:
    """Preprocess ``folder`` into ``out`` as notebook 02 does, on Ray with ``workers`` above 0."""
    from hm_utils.engines import choose

    names = ("val_days", "test_days", "train_weeks", "negatives_per_positive", "seed")
    engine = choose("ray", workers) if workers else choose("local")
    if workers:
        import ray

        ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False, object_store_memory=4 << 30)
    clock = Clock()
    tables = engine.read_raw(folder)
    clock.read = time.perf_counter()
    data = engine.preprocess(tables, out / "preprocessed", **{name: settings[name] for name in names})
    run = clock.run()
    log, examples = data.log, data.training.examples
    training = int((log.day < data.split.train_end).sum())
    negatives = 0 if examples.negatives is None else examples.negatives.size
    counts = (log.n_customers, log.n_articles, len(log), training, len(examples), negatives)
    files = {name: entry["sha256"] for name, entry in data.manifest["files"].items()}
    return {**run, "counts": dict(zip(COUNTS, counts, strict=True)), "files": files}


def in_parts(folder: Path, out: Path) -> Path:
    """The tables of ``folder``, the purchases in files of whole lines."""
    (out / "transactions_train").mkdir(parents=True)
    for name in FILES[:2]:
        (out / name).symlink_to(folder / name)
    size = (folder / FILES[2]).stat().st_size
    with (folder / FILES[2]).open("rb") as log:
        header = log.readline()
        for i in range(RAY_PARTS):
            with (out / "transactions_train" / f"part-{i:05}.csv").open("wb") as part:
                part.write(header)
                part.write(log.read(max(0, size * (i + 1) // RAY_PARTS - log.tell())) + log.readline())
    return out


def draw_negatives(
    columns: Sequence[Any], per_positive: int, seed: int, bought: Callable[[Integers], Integers]
) -> Integers:
    """``[n, per_positive]`` articles on sale in each example's week; a bought one is drawn once more.

    Args:
        columns: days ``[n]`` of the examples; weeks and articles on sale, distinct pairs in order of week.
        bought: from ``[n x per_positive]`` articles, the places of those that the example's customer had bought.
    """
    days, weeks, articles = (column.to_numpy() for column in columns)
    rng, sizes = np.random.default_rng(seed), np.bincount(weeks)
    starts = np.cumsum(sizes) - sizes
    asked = np.repeat(days // 7, per_positive)
    negatives = articles[starts[asked] + rng.integers(sizes[asked])]
    again = bought(negatives)
    negatives[again] = articles[starts[asked[again]] + rng.integers(sizes[asked[again]])]
    return negatives.reshape(-1, per_positive)


def with_pandas(folder: Path, out: Path, settings: Settings, encoder: str, engine: Any) -> Run:
    """``encoder`` is LabelEncoder or factorize, ``engine`` is `read_csv`'s."""
    from hm_utils.data.features import AGE_EDGES, ARTICLE_COLUMNS, CUSTOMER_COLUMNS, PRICE_BUCKETS

    label_encoder = import_module("sklearn.preprocessing").LabelEncoder if encoder == "LabelEncoder" else None

    def codes(column: pd.Series) -> Integers:
        if label_encoder:
            return label_encoder().fit_transform(column.astype("str").fillna("missing"))
        return pd.factorize(column)[0] + 1  # 0 where empty

    def row_numbers(ids: pd.Series, known: pd.Series) -> Integers:
        if label_encoder:
            return label_encoder().fit(known).transform(ids).astype(np.int32)
        places, distinct = pd.factorize(ids)
        return pd.Index(known).get_indexer(distinct).astype(np.int32)[places]

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
    clock.read = time.perf_counter()

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
    pairs = pd.unique(train["customer"].astype(np.int64) * len(articles) + train["article"])
    per_positive = settings["negatives_per_positive"]
    buyers = np.repeat(examples["customer"].to_numpy(np.int64), per_positive) * len(articles)
    columns = (examples["day"], sold["week"], sold["article"])
    negatives = draw_negatives(
        columns, per_positive, settings["seed"], lambda drawn: np.flatnonzero(pd.Series(buyers + drawn).isin(pairs))
    )
    names = [f"negative_{number}" for number in range(per_positive)]
    examples = examples.join(pd.DataFrame(negatives, columns=names, index=examples.index))
    frames = {"articles": articles, "customers": customers, "log": log, "article_codes": article_codes}
    for name, frame in (frames | {"customer_codes": customer_codes, "examples": examples}).items():
        frame.to_parquet(out / f"{name}.parquet", index=False)
    counts = [*map(len, (customers, articles, log, train, examples)), negatives.size]
    return clock.run() | {"counts": dict(zip(COUNTS, counts, strict=True))}


def with_polars(folder: Path, out: Path, settings: Settings) -> Run:
    from hm_utils.data.features import AGE_EDGES, ARTICLE_COLUMNS, CUSTOMER_COLUMNS, PRICE_BUCKETS

    pl: Any = import_module("polars")  # by name, as mypy must pass whether it is installed or not

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
    clock.read = time.perf_counter()

    log = log.with_columns(day=(pl.col("t_dat") - pl.col("t_dat").min()).dt.total_days().cast(pl.Int16)).drop("t_dat")
    log = log.sort("customer", "day")
    train_end = log["day"].max() + 1 - settings["val_days"] - settings["test_days"]
    train = log.filter(pl.col("day") < train_end)
    prices = train.group_by("article").agg(pl.col("price").mean())
    edges = np.unique(np.quantile(prices["price"], np.linspace(0, 1, PRICE_BUCKETS + 1)[1:-1]))
    prices = prices.select("article", price=np.searchsorted(edges, prices["price"], side="right") + 1)
    article_codes = articles.select(*map(codes, ARTICLE_COLUMNS), "article")
    article_codes = article_codes.join(prices, on="article", how="left", maintain_order="left").drop("article")
    article_codes = article_codes.fill_null(0)
    ages = np.searchsorted(AGE_EDGES, customers["age"], side="right")
    customer_codes = customers.select(*map(codes, CUSTOMER_COLUMNS[1:])).with_columns(age=ages)
    first = train_end - 7 * settings["train_weeks"]
    examples = train.filter(pl.col("day") >= first).select("customer", "article", "day").unique().sort("day")
    recent = train.filter(pl.col("day") >= first // 7 * 7)
    sold = recent.select("article", week=pl.col("day") // 7).unique().sort("week")
    per_positive = settings["negatives_per_positive"]
    buyers = np.repeat(examples["customer"].to_numpy(), per_positive)

    def bought(drawn: Integers) -> Integers:
        pairs = pl.DataFrame({"customer": buyers, "article": drawn}).with_row_index("place")
        found: Integers = pairs.join(train, on=["customer", "article"], how="semi")["place"].to_numpy()
        return found

    columns = (examples["day"], sold["week"], sold["article"])
    negatives = draw_negatives(columns, per_positive, settings["seed"], bought)
    examples = examples.with_columns(pl.Series("negatives", negatives))
    frames = {"articles": articles, "customers": customers, "log": log, "article_codes": article_codes}
    for name, frame in (frames | {"customer_codes": customer_codes, "examples": examples}).items():
        frame.write_parquet(out / f"{name}.parquet")
    counts = [*map(len, (customers, articles, log, train, examples)), negatives.size]
    return clock.run() | {"counts": dict(zip(COUNTS, counts, strict=True))}


# The part of each row, its function with further arguments, and the package that it needs.
ROWS: dict[str, tuple[str, Callable[..., Run], tuple[Any, ...], str]] = {
    "ours": ("ours", ours, (), "numpy"),
    "pandas, LabelEncoder": ("pandas", with_pandas, ("LabelEncoder", "c"), "sklearn"),
    "pandas, factorize": ("pandas", with_pandas, ("factorize", "c"), "pandas"),
    "pandas, factorize, pyarrow": ("pandas", with_pandas, ("factorize", "pyarrow"), "pandas"),
    "polars": ("polars", with_polars, (), "polars"),
    "Ray, 1 worker": ("ray", ours, (1,), "ray"),
    "Ray, 2 workers": ("ray", ours, (2,), "ray"),
}
PARTS = ("ours", "pandas", "polars", "ray")


def run(name: str, folder: Path, settings: Settings) -> Run:
    """One row once, in a process of its own."""
    with tempfile.TemporaryDirectory() as out:
        _, work, arguments, _ = ROWS[name]
        return measured(work, folder, Path(out), settings, *arguments)


def settings_of_notebooks() -> Settings:
    from hm_utils.data.preprocessing import preprocess

    per_positive = inspect.signature(preprocess).parameters["negatives_per_positive"].default
    return notebook_parameters({}) | {"negatives_per_positive": per_positive}


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser("reading", __doc__, data_dir="data/full")
    options.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS[:-1]), help="parts to run")
    options.add_argument("--repeats", type=int, default=1, help="runs of a row (%(default)s)")
    chosen = options.parse_args(arguments)
    folder = resolve(chosen.data_dir)
    if missing := [name for name in FILES if not (folder / name).is_file()]:
        print(f"error: {folder} has no {', '.join(missing)}", file=sys.stderr)
        return 1
    wanted = {name: needs for name, (part, _, _, needs) in ROWS.items() if part in chosen.only}
    names = [name for name, needs in wanted.items() if find_spec(needs)]
    if excluded := sorted(set(wanted) - set(names)):
        print(f"excluded for want of a package (`make bench-env cluster-env`): {', '.join(excluded)}", file=sys.stderr)
    settings, report = settings_of_notebooks(), {"machine": machine("numpy", "pandas", "pyarrow")}
    for name in FILES:  # into the page cache, or the first row alone would wait for the disk
        with (folder / name).open("rb") as file:
            while file.read(1 << 24):
                pass
    with tempfile.TemporaryDirectory() as scratch:
        parts = in_parts(folder, Path(scratch)) if "ray" in chosen.only else folder
        calls = {name: partial(run, name, parts if ROWS[name][0] == "ray" else folder, settings) for name in names}
        rows = in_turn(calls, chosen.repeats, report, chosen.json)
    runs = [each for row in rows.values() for each in row if "counts" in each]
    jobs = {str(each["counts"]) for each in runs}
    files = {str(each["files"]) for each in runs if "files" in each}
    same = "the rows did the same job" if len(jobs) == len(files) == 1 else "the rows did DIFFERENT jobs"
    size = sum((folder / name).stat().st_size for name in FILES)
    heading = f"{size / 1e9:.2f} GB of CSV, {runs[0]['counts']['purchases'] if runs else 0:,} purchases; {same}"
    return show(heading, table(rows, "seconds", ["reading, s", "the rest, s", "peak GiB"]), report)


if __name__ == "__main__":
    sys.exit(main())
