"""The decision to publish a model, and its reasons in sentences."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd

from hm_utils.evaluation.comparison import Evaluation
from hm_utils.evaluation.slices import EVERYONE

TWO_TOWER = "two-tower"
PUBLISHED = "two-tower + repurchase"  # the ranking that is published, by its name in the tables

# Each ranking must beat the best of its rivals. The two-tower must do so alone, because popularity and repurchase could
# carry towers that have learned nothing.
FLOORS = {TWO_TOWER: ("popularity",), PUBLISHED: ("popularity", "recent popularity")}


@dataclass(frozen=True)
class Decision:
    """Whether to publish, and the reason in words."""

    publish: bool
    reason: str


def decide(evaluation: Evaluation) -> Decision:
    """Publish only a model that beats the best-sellers by MAP@12 on the test days (:data:`FLOORS`)."""
    comparisons = []
    for model, rivals in FLOORS.items():
        floor = max(rivals, key=evaluation.mean)
        ours, theirs = evaluation.mean(model), evaluation.mean(floor)
        comparisons.append(f"MAP@12 {ours:.4f} of {model} against {theirs:.4f} of {floor}")
        if not ours > theirs:
            reason = f"{comparisons[-1]}: no better than the best-sellers, so the published model stays"
            return Decision(False, reason)
    return Decision(True, f"{'; '.join(comparisons)}: better than the best-sellers, so it may be published")


def compared(gain: pd.Series, rival: str, digits: int = 4) -> str:
    """A paired difference in words: "above that of *popularity*, by +0.0051 [+0.0030, +0.0072]"."""
    mean, low, high = gain["mean"], gain["low"], gain["high"]
    where = "above" if low > 0 else "below" if high < 0 else "not significantly different from"
    return f"{where} that of *{rival}*, by {mean:+.{digits}f} [{low:+.{digits}f}, {high:+.{digits}f}]"


def headline(evaluation: Evaluation, rival: str) -> dict[str, float | str]:
    """The figures of an evaluation for the table of runs."""
    rows = {"": PUBLISHED, ", dot product alone": TWO_TOWER, ", best baseline": rival}
    numbers: dict[str, float | str] = {
        f"{metric}{suffix}": evaluation.mean(name, metric)
        for suffix, name in rows.items()
        for metric in ("MAP@12", "recall@100")
    }
    return {**numbers, "best baseline": rival}


def in_words(evaluation: Evaluation, decision: Decision, rival: str, index_recall: float) -> str:
    """The decision, and the evidence for and against it as a Markdown list.

    Args:
        rival: the best baseline.
        index_recall: share of exact search's ranking that the index finds.
    """
    gain = evaluation.against(rival).loc[PUBLISHED]
    gains = evaluation.gain_by_slice(PUBLISHED, rival).drop(EVERYONE)
    lines = [
        f"MAP@12 of *{PUBLISHED}* is {compared(gain['MAP@12'], rival)}; "
        f"recall@100 is {compared(gain['recall@100'], rival, 3)}. That is the best baseline by MAP@12.",
    ]
    for metric in ("MAP@12", "recall@100"):
        above, below = gains.index[gains[metric, "low"] > 0], gains.index[gains[metric, "high"] < 0]
        lines.append(f"By {metric} it is significantly better for {_joined(above)}, and worse for {_joined(below)}.")
    if "oracle" in evaluation.rankings:
        share = evaluation.share_of("oracle").loc[PUBLISHED]
        lines.append(
            f"It reaches {share['MAP@12', 'mean']:.0%} of the oracle's MAP@12 and {share['recall@100', 'mean']:.0%} of "
            "its recall@100. On this synthetic data nobody can do better than the oracle."
        )
    lines.append(f"The index finds {index_recall:.1%} of exact search's ranking.")
    lines.append("The served model is trained again on all days; these numbers are the estimate of its quality.")
    head = f"**{'Publish' if decision.publish else 'Do not publish'}.** {decision.reason}."
    return "\n".join([head, "", *(f"- {line}" for line in lines)])


def _joined(names: Iterable[str]) -> str:
    return ", ".join(f"*{name}*" for name in names) or "no slice"
