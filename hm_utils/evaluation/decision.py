"""The decision to publish a model, and its reasons in sentences."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from hm_utils.arrays import Float32
from hm_utils.evaluation.comparison import COVERAGE, Evaluation
from hm_utils.evaluation.slices import EVERYONE

TWO_TOWER = "two-tower"
PUBLISHED = "two-tower + repurchase"  # the ranking that is published, by its name in the tables

PUBLISH_IF = ("better", "not worse", "always")  # values of the notebook's parameter publish_if
COMPARED = ("MAP@12", "recall@100")


@dataclass(frozen=True)
class Decision:
    """Whether to publish, and why.

    Attributes:
        publish: the decision.
        verdict: the published ranking against all baselines: "better", if it is significantly better than each by
            both metrics; "worse", if it is significantly worse than one by either; else "not worse".
        reason: a sentence.
        against: what speaks against the model, a sentence each.
    """

    publish: bool
    verdict: str
    reason: str
    against: tuple[str, ...]


def decide(
    evaluation: Evaluation, rivals: Sequence[str], publish_if: str = "not worse", replaces: str | None = None
) -> Decision:
    """Compare the published ranking with every baseline, by paired intervals on MAP@12 and recall@100.

    Args:
        rivals: the baselines.
        publish_if: "better" publishes only a ranking that is significantly better than every baseline. "not worse"
            publishes also one that is not significantly worse than any. "always" publishes.
        replaces: the verdict on the model that is published now; None if there is none. Under "not worse", a ranking
            that is worse replaces no model but another worse one.

    Raises:
        ValueError: ``publish_if`` is none of these.
    """
    if publish_if not in PUBLISH_IF:
        raise ValueError(f"publish_if is {publish_if!r}: it must be one of {', '.join(map(repr, PUBLISH_IF))}")
    against = {rival: evaluation.against(rival).loc[PUBLISHED] for rival in rivals}
    worse = [rival for rival, gain in against.items() if any(gain[metric, "high"] < 0 for metric in COMPARED)]
    better = [rival for rival, gain in against.items() if all(gain[metric, "low"] > 0 for metric in COMPARED)]
    unsure = [rival for rival in rivals if rival not in better and rival not in worse]
    verdict = "worse" if worse else "not worse" if unsure else "better"
    publish = (
        publish_if == "always"
        or verdict == "better"
        or (publish_if == "not worse" and (verdict == "not worse" or replaces in (None, "worse")))
    )
    if verdict == "better":
        reason = "Published: significantly better than every baseline by MAP@12 and recall@100"
    else:
        finding = (
            f"significantly worse than {joined(worse)}" if worse else f"not significantly better than {joined(unsure)}"
        )
        reason = f"Published although {finding}" if publish else f"Not published: {finding}"
    return Decision(publish, verdict, reason, tuple(_against(evaluation, rivals)))


def unless_diverged(decision: Decision, vectors: Float32) -> Decision:
    """The decision, but against publishing where the vectors of the index (``[n, d]``) are no numbers."""
    if np.isfinite(vectors).all():
        return decision
    reason = "Not published: the towers diverged, train again with a lower learning_rate"
    return replace(decision, publish=False, reason=reason)


def _against(evaluation: Evaluation, rivals: Sequence[str]) -> Iterator[str]:
    """What speaks against the model: slices, coverage, new articles, and towers that are worth nothing alone."""
    for metric in COMPARED:
        best = max(rivals, key=lambda rival: evaluation.mean(rival, metric))
        gains = evaluation.gain_by_slice(PUBLISHED, best)
        if below := list(gains.index[gains[metric, "high"] < 0]):
            yield f"Its {metric} is significantly below that of “{best}” for {joined(below)}."
    for part in ("new to the customer", "new in the shop"):
        best = max(rivals, key=lambda rival: np.nan_to_num(evaluation.mean(rival, "recall@100", part)))
        ours, theirs = (evaluation.mean(name, "recall@100", part) for name in (PUBLISHED, best))
        if ours < theirs:
            yield f"Of purchases {part} it finds {ours:.1%}, and “{best}” {theirs:.1%}."
    coverage = evaluation.beyond_accuracy[COVERAGE]
    wider = coverage[[rival for rival in rivals if rival != "random"]]
    if coverage[PUBLISHED] < wider.max():
        yield f"It covers {coverage[PUBLISHED]:.1%} of the catalogue, and “{wider.idxmax()}” {wider.max():.1%}."
    best = max(rivals, key=evaluation.mean)
    if evaluation.mean(TWO_TOWER) <= evaluation.mean(best):
        yield (
            f"The two-tower alone has a MAP@12 of {evaluation.mean(TWO_TOWER):.4f}, and “{best}” "
            f"{evaluation.mean(best):.4f}."
        )


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
    """The decision, and the evidence for and against it as Markdown lists.

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
    for metric in COMPARED:
        above = gains.index[gains[metric, "low"] > 0]
        lines.append(f"By {metric} it is significantly better for {joined(above)}.")
    if "oracle" in evaluation.rankings:
        share = evaluation.share_of("oracle").loc[PUBLISHED]
        lines.append(
            f"It reaches {share['MAP@12', 'mean']:.0%} of the oracle's MAP@12 and {share['recall@100', 'mean']:.0%} of "
            "its recall@100. On this synthetic data nobody can do better than the oracle."
        )
    lines.append(f"The index finds {index_recall:.1%} of exact search's ranking.")
    lines.append("The served model is trained again on all days; these numbers are the estimate of its quality.")
    against = decision.against or ("Nothing that was measured.",)
    return "\n".join(
        [f"**{decision.reason}.**", "", *(f"- {line}" for line in lines), "", "Against it:", ""]
        + [f"- {line}" for line in against]
    )


def joined(names: Iterable[str]) -> str:
    """Names in one phrase, quoted as they have commas."""
    return ", ".join(f"“{name}”" for name in names) or "no slice"
