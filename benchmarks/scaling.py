"""What n times H&M's data would take: the model behind docs/scale.md, from figures measured at H&M's size.

    python -m benchmarks.scaling [--growth artifacts/benchmarks/growth.json]

prints the document's tables; a test keeps them equal. Every figure is ``base x factor^exponent``: the base was measured
with two cores at H&M's size (or follows from it), the exponent is of what the stage does, not of a fit, as small data
does not show it: at a million purchases much of a stage's time is its start. With ``--growth``, the first table has the
seconds of that run.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.growth import ARTICLES, CUSTOMERS, ROWS, exponent

FACTORS = (1, 10, 100)
GIB = 2**30
NAMED, SEARCHED, IDENTITY = 256, 130, 64  # widths: taste and name, of the index, of an article's id
PURCHASE, CUSTOMER = 11, 8  # bytes in the log
EXAMPLES, STEP, BATCH = 5_000_000, 0.023, 512  # of 16 weeks; seconds of a step on two cores; examples of it
DENSE = 0.8e6  # bytes of the gradients that are no rows of ids
WORKERS = (1, 2, 4, 8)
NETWORKS = {"1 Gbit/s": 0.125e9, "10 Gbit/s": 1.25e9}  # bytes a second

# Purchases, and seconds of each stage with so many of them, on the whole catalogue.
GROWTH: tuple[tuple[float, ...], dict[str, tuple[float, ...]]] = (
    (1.06e6, 3.19e6, 10.6e6, 34.0e6),
    {
        "sample": (17.3, 18.9, 31.1, 81.0),
        "preprocessing": (1.32, 2.12, 6.67, 28.6),
        "training, an epoch": (7.15, 20.0, 66.7, 236),
        "index": (9.77, 8.54, 9.95, 10.6),
        "recommending to all": (3.26, 8.30, 30.6, 116),
    },
)


@dataclass(frozen=True)
class Cost:
    """What something costs at H&M's size, and the exponents by which it grows.

    Attributes:
        base: seconds, GiB or requests a second, as ``unit`` says.
        rows, customers, articles: the exponent of each.
    """

    name: str
    base: float
    unit: str
    rows: float = 0.0
    customers: float = 0.0
    articles: float = 0.0

    def at(self, rows: float = 1, customers: float = 1, articles: float = 1) -> float:
        """With so many times H&M's purchases, customers and articles."""
        return self.base * rows**self.rows * customers**self.customers * articles**self.articles

    @property
    def exponents(self) -> str:
        shown = {"purchases": self.rows, "customers": self.customers, "articles": self.articles}
        return " × ".join(f"{name}^{value:g}" if value != 1 else name for name, value in shown.items() if value)


COSTS = (
    Cost("reading and preprocessing", 29, "s", rows=1),
    Cost("its memory", 3.9, "GiB", rows=1),
    Cost("the log on disk", (ROWS * PURCHASE + CUSTOMERS * CUSTOMER) / GIB, "GiB", rows=1),
    Cost("a pass over 16 weeks of examples", EXAMPLES * STEP / BATCH, "s", rows=1),
    Cost("table of ids with Adam's two moments", ARTICLES * IDENTITY * 4 * 3 / GIB, "GiB", articles=1),
    Cost("building and tuning the index", 10, "s", articles=1.5),
    Cost("the index's vectors", ARTICLES * SEARCHED * 4 / GIB, "GiB", articles=1),
    Cost("customers' stored vectors", CUSTOMERS * SEARCHED * 4 / GIB, "GiB", customers=1),
    Cost("recommendations for everybody", 47, "s", customers=1, articles=0.5),
    Cost("memory of a service worker", 0.9, "GiB", rows=1),
    Cost("requests a second of a worker", 3_200, "1/s", articles=-0.5),
)


def traffic(workers: int) -> float:
    """Bytes that each of W workers sends in a step of training, with ``BATCH`` examples each.

    A ring all-reduce of the dense gradients, the item vectors gathered and their gradients scattered back, and the
    gradients of the articles' ids exchanged as rows of values and row numbers.
    """
    ring = 2 * (workers - 1) / workers * DENSE
    vectors = 2 * (workers - 1) * BATCH * NAMED * 4
    ids = (workers - 1) * BATCH * (IDENTITY * 4 + 8)
    return ring + vectors + ids


def examples_per_second(workers: int, network: float) -> float:
    """Of W workers with ``BATCH`` examples each, where nothing is sent while something is computed."""
    return workers * BATCH / (STEP + traffic(workers) / network)


def number(value: float) -> str:
    """Two digits, three from 100."""
    digits = 3 if value >= 100 else 2
    return f"{float(f'{value:.{digits}g}'):,.10g}"


def table(rows: Sequence[Sequence[str]]) -> str:
    head, *rest = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([head, "|" + "---|" * len(rows[0]), *rest])


def growth_table(rows: Sequence[float], seconds: Mapping[str, Sequence[float]]) -> str:
    head = ["seconds", *(f"{n / 1e6:.3g} M purchases" for n in rows), "exponent"]
    return table(
        [head, *([name, *map(number, found), f"{exponent(rows, found):.2f}"] for name, found in seconds.items())]
    )


def cost_table() -> str:
    head = ["", "H&M", *(f"{factor} times" for factor in FACTORS[1:]), "grows with"]
    return table(
        [
            head,
            *(
                [f"{cost.name}, {cost.unit}", *(number(cost.at(f, f, f)) for f in FACTORS), cost.exponents]
                for cost in COSTS
            ),
        ]
    )


def worker_table() -> str:
    head = ["workers", "sent by each in a step, MB", *(f"examples/s, {name}" for name in NETWORKS)]
    return table(
        [
            head,
            *(
                [str(w), number(traffic(w) / 1e6), *(number(examples_per_second(w, n)) for n in NETWORKS.values())]
                for w in WORKERS
            ),
        ]
    )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scaling", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--growth", type=Path, help="JSON of benchmarks.growth, for the first table")
    options = parser.parse_args(arguments)
    rows, seconds = GROWTH
    if options.growth:
        runs = json.loads(options.growth.read_text())["runs"]
        rows = tuple(run["rows"] for run in runs)
        seconds = {stage: tuple(run["seconds"][stage] for run in runs) for stage in runs[0]["seconds"]}
    print("\n\n".join([growth_table(rows, seconds), cost_table(), worker_table()]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
