"""The numbers of docs/scale.md follow from its model."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from app.cluster.replica import ENVIRONMENT
from benchmarks import scaling

DOC = (Path(__file__).parents[2] / "docs" / "scale.md").read_text()
COST = {cost.name: cost for cost in scaling.COSTS}


def test_the_document_has_the_models_tables() -> None:
    assert all(table in DOC for table in scaling.tables())


def test_costs_grow_as_they_say() -> None:
    index = COST["building and tuning the index"]
    assert index.at(articles=4) == pytest.approx(8 * index.base)
    assert index.at(rows=50, customers=50) == index.base
    assert COST["recommendations for everybody"].at(customers=2, articles=4) == pytest.approx(4 * 47)
    assert scaling.examples_per_second(1, 1e9) == pytest.approx(scaling.BATCH / scaling.STEP)
    assert scaling.traffic(1) == 0
    assert scaling.traffic(2) == 0.8e6 + 2 * 512 * 128 * 4 + 512 * (64 * 4 + 8)


@pytest.mark.parametrize(
    ("said", "number"),
    [
        (r"by memory: (\d+) GiB\. A machine", COST["its memory"].at(rows=10)),
        (r"workers it is (\d+) GiB each", COST["its memory"].at(rows=10) / 4),
        (r"everybody's recommendations (\d+): one", COST["recommendations for everybody"].at(1, 10, 10) / 60),
        (r"would take (\d+) GiB", COST["its memory"].at(rows=100)),
        (r"are (\d+) hours of two cores: ", COST["recommendations for everybody"].at(1, 100, 100) / 3600),
        (r": (\d+) minutes with sixteen", COST["recommendations for everybody"].at(1, 100, 100) / 60 / 16),
        (r"maps (\d+) GiB, most", COST["memory of a service worker"].at(rows=100)),
        (r"vectors \((\d+) GiB, read", COST["customers' stored vectors"].at(customers=100)),
        (r"table of ids is ([\d.]+) GiB", COST["table of ids with Adam's two moments"].at(articles=100)),
        (r"^(\d+) million purchases", 10 * scaling.ROWS / 1e6),
        (r"^([\d.]+) billion purchases", 100 * scaling.ROWS / 1e9),
    ],
)
def test_worked_numbers_follow(said: str, number: float) -> None:
    (found,) = re.findall(said, DOC, re.MULTILINE)
    assert float(found) == pytest.approx(number, rel=0.03)


def test_the_cluster_is_started_with_what_serving_needs() -> None:
    exported = dict(re.findall(r'(RAY_SERVE_\w+)="?([^"\n]+?)"?(?= RAY_SERVE|\n)', DOC))
    assert exported == ENVIRONMENT
