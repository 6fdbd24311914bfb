"""The decision about a model in sentences, every number of them out of the evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from hm_utils.evaluation.comparison import EVERYONE, Evaluation

TWO_TOWER = "two-tower"
PUBLISHED = "two-tower + repurchase"  # what is published, by its name in the tables


@dataclass(frozen=True)
class Decision:
    """Whether to publish, and the reason in words."""

    publish: bool
    reason: str


# Each model has to rank better than these. The two-tower alone too, as popularity and repurchase would carry
# towers that have learned nothing.
FLOORS = {TWO_TOWER: ("popularity",), PUBLISHED: ("popularity", "recent popularity")}


def decide(evaluation: Evaluation, floors: Mapping[str, tuple[str, ...]] = FLOORS) -> Decision:
    """A model must rank better than showing everybody the best-sellers, by MAP@12 on the test days."""
    compared = []
    for model, rivals in floors.items():
        floor = max(rivals, key=evaluation.mean)
        ours, theirs = evaluation.mean(model), evaluation.mean(floor)
        compared.append(f"MAP@12 {ours:.4f} of {model} against {theirs:.4f} of {floor}")
        if not ours > theirs:
            reason = f"{compared[-1]}: no better than the best-sellers, so the published model stays as it was"
            return Decision(False, reason)
    return Decision(True, f"{'; '.join(compared)}: better than the best-sellers, so it may be published")


def compared(gain: pd.Series, rival: str, digits: int = 4) -> str:
    """A paired difference in words: "above that of *popularity*, by +0.0051 [+0.0030, +0.0072]"."""
    mean, low, high = gain["mean"], gain["low"], gain["high"]
    where = "above" if low > 0 else "below" if high < 0 else "not surely different from"
    return f"{where} that of *{rival}*, by {mean:+.{digits}f} [{low:+.{digits}f}, {high:+.{digits}f}]"


def headline(evaluation: Evaluation, rival: str) -> dict[str, float | str]:
    """What the table of runs shows of an evaluation."""
    rows = {"": PUBLISHED, ", dot product alone": TWO_TOWER, ", best baseline": rival}
    numbers: dict[str, float | str] = {
        f"{metric}{what}": evaluation.mean(name, metric)
        for what, name in rows.items()
        for metric in ("MAP@12", "recall@100")
    }
    return {**numbers, "best baseline": rival}


def sure_slices(gains: pd.DataFrame, metric: str) -> tuple[list[str], list[str]]:
    """The slices where a gain (``Evaluation.gain_by_slice``) is surely above 0, and surely below."""
    names = gains.index[gains.index != EVERYONE]
    above = [str(name) for name in names if gains.loc[name, (metric, "low")] > 0]
    below = [str(name) for name in names if gains.loc[name, (metric, "high")] < 0]
    return above, below


def in_words(evaluation: Evaluation, decision: Decision, rival: str, index_recall: float) -> str:
    """Whether to publish and what speaks for and against it, as a list in Markdown.

    Args:
        rival: the best baseline.
        index_recall: what the index finds of exact search's list.
    """
    gain = evaluation.against(rival).loc[PUBLISHED]
    gains = evaluation.gain_by_slice(PUBLISHED, rival)
    lines = [
        f"MAP@12 of *{PUBLISHED}* is {compared(gain['MAP@12'], rival)}; "
        f"recall@100 is {compared(gain['recall@100'], rival, 3)}. That is the best baseline by MAP@12.",
    ]
    for metric in ("MAP@12", "recall@100"):
        above, below = sure_slices(gains, metric)
        lines.append(f"By {metric} it is surely better for {_listed(above)}, and surely worse for {_listed(below)}.")
    if "oracle" in evaluation.rankings:
        share = evaluation.share_of("oracle").loc[PUBLISHED]
        lines.append(
            f"It reaches {share['MAP@12', 'mean']:.0%} of the oracle's MAP@12 and {share['recall@100', 'mean']:.0%} of "
            "its recall@100. On this synthetic data nobody can do better than the oracle."
        )
    lines.append(f"The index finds {index_recall:.1%} of what exact search would list.")
    lines.append("The model that is served is trained anew on all days; these numbers are the estimate of how it does.")
    head = f"**{'Publish' if decision.publish else 'Do not publish'}.** {decision.reason}."
    return "\n".join([head, "", *(f"- {line}" for line in lines)])


def _listed(names: Sequence[str]) -> str:
    return "no slice" if not names else ", ".join(f"*{name}*" for name in names)
