"""The model card has the manifest's numbers, and its sentences follow them."""

from __future__ import annotations

import copy
import re
from typing import Any

import pytest

from hm_utils.serving.model_card import model_card

RANKINGS = ("two-tower + repurchase", "popularity")


def values(mean: float, half: float | None = 0.01) -> dict[str, Any]:
    interval = {"low": None, "high": None} if half is None else {"low": mean - half, "high": mean + half}
    return {"MAP@12": {"mean": mean, **interval}, "recall@100": {"mean": 4 * mean, **interval}}


def part(mean: float, customers: int = 100, half: float | None = 0.01) -> dict[str, Any]:
    return {"customers": customers, "rankings": {name: values(mean, half) for name in RANKINGS}}


@pytest.fixture
def facts() -> dict[str, Any]:
    return {
        "data": {
            "origin": {"synthetic": False, "folder": "<b>shop</b>|`x`"},
            "raw_fingerprint": "0123456789abcdef" * 4,
            "parent": None,
            "last_date": "2020-09-22",
            "counts": {"articles": 10, "customers": 20, "purchases": 3_000},
        },
        "parameters": {
            "preprocessing": {"val_days": 7, "test_days": 5, "train_weeks": 16, "seed": 42},
            "training": {"num_epochs": 6, "batch_size": 512, "hidden_dims": [128, 64], "seed": 7},
            "evaluation": {"seed": 42, "publish_if": "not worse"},
        },
        "metrics": {
            "ranking": RANKINGS[0],
            "index": {"kind": "scann", "recall@100": 0.9931},
            "held_out_test": {
                "customers": 1_234,
                "rankings": {RANKINGS[0]: values(0.05), RANKINGS[1]: values(0.02)},
                "slices": {
                    "never bought": part(0.01),
                    "aged under 25": part(0.06),
                    "aged 25–34": part(0.045),
                    "age unknown": part(0.0, customers=3, half=None),
                },
            },
            "decision": {"reason": "Published although not better than “popularity”", "against": ["It finds few."]},
        },
    }


def rows(card: str) -> dict[str, list[str]]:
    """The cells of the card's tables by their first one."""
    lines = [line.strip("| ").split(" | ") for line in card.splitlines() if line.startswith("| ")]
    return {line[0].strip("*"): line[1:] for line in lines}


def test_every_number_is_the_manifest_s(facts: dict[str, Any]) -> None:
    card = model_card(facts, days=734)
    found = rows(card)
    test = facts["metrics"]["held_out_test"]
    for name in RANKINGS:
        assert [float(cell.split()[0]) for cell in found[name]] == [
            test["rankings"][name][column]["mean"] for column in ("MAP@12", "recall@100")
        ]
    assert found["two-tower + repurchase"][0] == "0.0500 [0.0400, 0.0600]"
    assert found["aged under 25"] == ["100", "0.0600 [0.0500, 0.0700]", "0.2400 [0.0500, 0.0700]"]
    assert found["age unknown"] == ["3", "0.0000", "0.0000"]
    expected = [
        "1,234 customers",
        "5 days held out",
        "3,000 purchases",
        "734 days",
        "99.3%",
        "It finds few.",
        "6 epochs",
    ]
    expected += ["not better than “popularity”", "-p batch_size 512", "-p hidden_dims '[128, 64]'"]
    for text in expected:
        assert text in card


def test_ages_that_are_served_worse_are_named(facts: dict[str, Any]) -> None:
    assert "no age is significantly below everybody's 0.0500. The lowest is “aged 25–34” with 0.0450" in model_card(
        facts, days=734
    )
    worse = copy.deepcopy(facts)
    worse["metrics"]["held_out_test"]["slices"]["aged 25–34"] = part(0.03)
    assert "significantly below everybody's 0.0500: “aged 25–34” (0.0300)" in model_card(worse, days=734)
    for name in ("aged under 25", "aged 25–34"):
        del worse["metrics"]["held_out_test"]["slices"][name]
    assert "Ages are unknown" in model_card(worse, days=734)


def test_the_name_of_a_folder_stays_text(facts: dict[str, Any]) -> None:
    card = model_card(facts, days=734)
    (line,) = (line for line in card.splitlines() if line.startswith("Your data in"))
    assert not re.search(r"[<>|]|`x", line)
