"""The cost of 10 and 100 times H&M's data: the model behind docs/scale.md, from figures measured at H&M's size.

    python -m benchmarks.scaling

prints the document's tables, and a test keeps them equal. Every figure is ``base x factor^exponent``. The base was
measured on two cores at H&M's size, or follows from it. The exponent is of the algorithm, not of a fit: at a million
purchases most of a stage's time is its start.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.growth import ARTICLES, CUSTOMERS, ROWS, exponent

FACTORS = (1, 10, 100)
GIB = 2**30
VECTOR, SEARCHED, IDS = 128, 130, 64  # widths: of a tower's vector, in the index, of an article's id embedding
PURCHASE, CUSTOMER = 11, 8  # bytes in the log
EXAMPLES, STEP, BATCH = 5_000_000, 0.023, 512  # of 16 weeks; seconds of a step on two cores; examples of a step
DENSE = 0.8e6  # bytes of the gradients other than rows of ids
WORKERS = (1, 2, 4, 8)
NETWORKS = {"1 Gbit/s": 0.125e9, "10 Gbit/s": 1.25e9}  # bytes a second

# Purchases, and seconds of each stage (`benchmarks.growth`) with the whole catalogue.
PURCHASES = (1.06e6, 3.19e6, 10.6e6, 34.0e6)
GROWTH = {
    "sample": (17.3, 18.9, 31.1, 81.0),
    "preprocessing": (1.32, 2.12, 6.67, 28.6),
    "training, an epoch": (7.15, 20.0, 66.7, 236),
    "index": (9.77, 8.54, 9.95, 10.6),
    "recommending to all": (3.26, 8.30, 30.6, 116),
}


@dataclass(frozen=True)
class Cost:
    """A cost at H&M's size (seconds, GiB or requests a second), and the exponents of its growth."""

    name: str
    base: float
    unit: str
    rows: float = 0.0
    customers: float = 0.0
    articles: float = 0.0

    def at(self, rows: float = 1, customers: float = 1, articles: float = 1) -> float:
        """With these multiples of H&M's purchases, customers and articles."""
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
    Cost("table of ids with Adam's two moments", ARTICLES * IDS * 4 * 3 / GIB, "GiB", articles=1),
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
    return ring + 2 * (workers - 1) * BATCH * VECTOR * 4 + (workers - 1) * BATCH * (IDS * 4 + 8)


def examples_per_second(workers: int, network: float) -> float:
    """Of W workers with ``BATCH`` examples each, if computing and sending do not overlap."""
    return workers * BATCH / (STEP + traffic(workers) / network)


def number(value: float) -> str:
    """Two digits, three from 100."""
    return f"{float(f'{value:.{3 if value >= 100 else 2}g}'):,.10g}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    first, *rest = [f"| {' | '.join(row)} |" for row in (head, *rows)]
    return "\n".join([first, "|" + "---|" * len(head), *rest])


def tables() -> list[str]:
    growth = [[name, *map(number, took), f"{exponent(PURCHASES, took):.2f}"] for name, took in GROWTH.items()]
    costs = [[f"{c.name}, {c.unit}", *(number(c.at(f, f, f)) for f in FACTORS), c.exponents] for c in COSTS]
    workers = [
        [str(w), number(traffic(w) / 1e6), *(number(examples_per_second(w, speed)) for speed in NETWORKS.values())]
        for w in WORKERS
    ]
    return [
        table(["seconds", *(f"{n / 1e6:.3g} M purchases" for n in PURCHASES), "exponent"], growth),
        table(["", "H&M", *(f"{factor} times" for factor in FACTORS[1:]), "grows with"], costs),
        table(["workers", "sent by each in a step, MB", *(f"examples/s, {name}" for name in NETWORKS)], workers),
    ]


if __name__ == "__main__":
    print("\n\n".join(tables()))
