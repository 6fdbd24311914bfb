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
NOT_SURE = "not significantly different from"


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
    where = "above" if low > 0 else "below" if high < 0 else NOT_SURE
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


def result(evaluation: Evaluation, decision: Decision, rival: str, days: str) -> str:
    """The result in a sentence, what speaks for and against the model, and what to do next, as Markdown.

    Args:
        rival: the best baseline by MAP@12.
        days: the test days, such as "from 2020-09-16 to 2020-09-22".
    """
    return f"{sentence(evaluation, rival, days)}\n\n{for_and_against(evaluation, decision, rival)}"


def sentence(evaluation: Evaluation, rival: str, days: str) -> str:
    """The gain over the best baseline, with its interval and its population."""
    ours, theirs = (evaluation.mean(name) for name in (PUBLISHED, rival))
    gain = evaluation.against(rival).loc[PUBLISHED]
    mean, low, high = (gain["MAP@12", part] for part in ("mean", "low", "high"))
    relative = ""
    if theirs and ours != theirs:
        relative = f", {abs(ours / theirs - 1):.0%} {'above' if ours > theirs else 'below'}"
    words = "significantly above" if low > 0 else "significantly below" if high < 0 else NOT_SURE
    return (
        f"For the {len(evaluation):,} customers who bought {days}, the MAP@12 of *{PUBLISHED}* is **{ours:.4f}**, "
        f"{words} the best baseline's {theirs:.4f} (*{rival}*): **{mean:+.4f}** "
        f"[{low:+.4f}, {high:+.4f}]{relative}."
    )


def for_and_against(evaluation: Evaluation, decision: Decision, rival: str) -> str:
    """The decision, the evidence for and against it, and the next steps, as Markdown lists."""
    gain = evaluation.against(rival).loc[PUBLISHED]
    gains = evaluation.gain_by_slice(PUBLISHED, rival).drop(EVERYONE)
    better = {metric: int((gains[metric, "low"] > 0).sum()) for metric in COMPARED}
    lines = [
        f"Its recall@100 is {compared(gain['recall@100'], rival, 3)}.",
        f"It is significantly better by MAP@12 in {better['MAP@12']} of {len(gains)} slices of the test, "
        f"by recall@100 in {better['recall@100']}.",
    ]
    if "oracle" in evaluation.rankings:
        share = evaluation.share_of("oracle").loc[PUBLISHED]
        lines.append(
            f"It reaches {share['MAP@12', 'mean']:.0%} of the oracle's MAP@12 and {share['recall@100', 'mean']:.0%} of "
            "its recall@100. On this synthetic data nobody can do better than the oracle."
        )
    parts = {
        "Beside that:": lines,
        "Against it:": decision.against or ("Nothing that was measured.",),
        "What to do next:": next_steps(evaluation, decision, rival),
    }
    lists = (f"{title}\n\n" + "\n".join(f"- {line}" for line in lines) for title, lines in parts.items())
    return "\n\n".join([f"**{decision.reason}.**", *lists])


def next_steps(evaluation: Evaluation, decision: Decision, rival: str) -> list[str]:
    """What the result suggests to do."""
    if not decision.publish:
        steps = ["The model in service stays. Train with other parameters (`num_epochs`, `train_weeks`)."]
    elif decision.verdict == "better":
        steps = [
            "Serve the model, and compare it with the present recommendations on live customers: held-out days cannot "
            "show what customers do with other recommendations."
        ]
    else:
        rank = "is significantly better than it" if decision.verdict == "worse" else "may be as good as it"
        steps = [f"A baseline {rank}: test more customers (`test_days`) before relying on the model."]
    gains = evaluation.gain_by_slice(PUBLISHED, rival).drop(EVERYONE)
    for metric in COMPARED:
        if len(below := gains.index[gains[metric, "high"] < 0]):
            steps.append(f"Look at {joined(below)}: there the {metric} of the best baseline is significantly higher.")
    if evaluation.mean(TWO_TOWER) <= evaluation.mean(rival):
        steps.append("The towers alone do not beat the best baseline: give them more weeks or more epochs.")
    coverage = evaluation.beyond_accuracy[COVERAGE]
    if coverage[PUBLISHED] < coverage[rival]:
        steps.append("If more of the catalogue should be shown, ask the service for diverse rankings.")
    return steps


def joined(names: Iterable[str]) -> str:
    """Names in one phrase, quoted as they have commas."""
    return ", ".join(f"“{name}”" for name in names) or "no slice"
