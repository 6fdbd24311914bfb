"""Sentences of the reports about what is largest, above or enough: computed from the table of the figure above them.

Each function has words for every case, so that a report of another shop's data never repeats a finding of this one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from hm_utils.evaluation.comparison import COVERAGE, Evaluation
from hm_utils.evaluation.decision import PUBLISHED, joined
from hm_utils.evaluation.reliability import mean_ratio
from hm_utils.evaluation.upper_bounds import BOTH, PERFECT_POPULARITY, PERFECT_REPURCHASE
from hm_utils.training.loop import EPOCHS_AVERAGED

# ---- notebook 01 -----------------------------------------------------------------------------


def skew(share: pd.Series, catalogue: int) -> str:
    """The weight of the best-sellers (``eda.cumulative_share``)."""
    top = max(len(share) // 100, 1)
    times = share[top] * len(share) / top
    words = f"{times:,.0f} times as much as if all sold equally" if times >= 1.5 else "hardly more than their number"
    return (
        f"The best-selling 1 % of the articles sold ({top:,}) make {share[top]:.0%} of all purchases, {words}; "
        f"{1 - len(share) / catalogue:.0%} of the catalogue is not sold once in this log."
    )


def staying(overlap: pd.DataFrame, unit: str) -> str:
    """How long best-sellers stay (``turnover.best_seller_overlap``)."""
    if overlap.empty:
        return f"The log has a single {unit}."
    mean = overlap["mean"]
    shares = ", ".join(f"{mean[n]:.0%} after {n} {unit}{'s' * (n > 1)}" for n in (1, 2, 4) if n in mean.index)
    words = "fewer than half are" if mean.iloc[0] < 0.5 else "at least half are"
    return (
        f"Of a {unit}'s {overlap.attrs['top']:,} best-sellers {words} best-sellers in the next {unit}. Share: {shares}."
    )


def basket(coherence: pd.DataFrame) -> str:
    """The attribute that a basket repeats most, compared with chance (``eda.basket_coherence``)."""
    known = coherence.dropna()
    if known.empty:
        return "There is no pair of articles to compare."
    times = known["one basket"] / known["any two purchases"].clip(lower=1e-6)
    label = str(times.idxmax())
    one, chance = (known[column][label] for column in ("one basket", "any two purchases"))
    numbers = f"share {label} in {one:.1%} of pairs, any two purchases in {chance:.1%}"
    if times.max() < 1.1:
        return f"Two articles of one basket are hardly more alike than any two purchases: they {numbers}."
    return f"Two articles of one basket {numbers}: {times.max():,.1f} times as often, the largest ratio of the figure."


def simple_rankings(reach: pd.DataFrame) -> str:
    """Which simple ranking is better, with the knowledge of the morning (``upper_bounds.reach``)."""
    known = reach.loc[~reach["perfect"].astype(bool), ["MAP@12", "recall@100"]]
    numbers = {
        name: " against ".join(f"{value:.4f}" for value in known[name].sort_values(ascending=False)) for name in known
    }
    best = {name: _best(known[name]) for name in known}
    if best["MAP@12"] == best["recall@100"]:
        who = f"*{best['MAP@12']}* is better by both metrics" if best["MAP@12"] else "both rankings are equal"
        both = ", ".join(f"{name} {number}" for name, number in numbers.items())
        return f"With the knowledge of that morning {who} ({both})."
    parts = [
        f"*{winner}* is better by {name} ({numbers[name]})" if winner else f"they are equal by {name} ({numbers[name]})"
        for name, winner in best.items()
    ]
    return f"With the knowledge of that morning {', and '.join(parts)}."


def beyond_simple_rankings(reach: pd.DataFrame) -> str:
    """The share of purchases that no simple ranking can find (``upper_bounds.reach``)."""
    found = reach["recall@100"]
    left = 1 - found[BOTH]
    words = (
        "most of what they buy is" if left > 0.5 else "less than half of what they buy is" if left > 0 else "none is"
    )
    return (
        f"Perfect best-sellers find {found[PERFECT_POPULARITY]:.0%} of a customer's purchases in 100 articles, perfect "
        f"repurchase finds {found[PERFECT_REPURCHASE]:.0%}, and both together {found[BOTH]:.0%}. So {words} left to a "
        f"model that tells customers apart: {left:.0%}."
    )


def _best(values: pd.Series) -> str:
    """The name of the highest value; empty if all are equal."""
    return "" if values.min() == values.max() else str(values.idxmax())


# ---- notebook 03 -----------------------------------------------------------------------------


def weights(ids: int, total: int, width: int) -> str:
    """The share of the embeddings of ids in the model's weights."""
    most = "most of them" if ids > total / 2 else "the smaller part"
    return (
        f"{total:,} weights are learned; {ids / total:.0%} of them, {most}, are the embeddings of ids and products. "
        f"A vector has {width} numbers."
    )


def correction(learned: pd.DataFrame) -> str:
    """Whether logQ brings the popularity back (``logq_experiment.popularity_learned``)."""
    first = learned.iloc[0]
    off = {
        name: np.exp(np.abs(np.log(learned[name] / learned["share of sales"])).mean()) for name in learned.columns[1:]
    }
    best = min(off, key=lambda name: off[name])
    return (
        f"The best-seller makes {first['share of sales']:.1%} of these purchases. With logQ the model says "
        f"{first['with logQ']:.1%}; without, {first['without logQ']:.1%}. Equal shares are {1 / len(learned):.1%}. "
        f"The mean factor between the model's share and the true one is {off['with logQ']:.2f} with logQ and "
        f"{off['without logQ']:.2f} without, so it is closer *{best}*."
    )


def kept_epoch(history: pd.DataFrame, best_epoch: int, metric: str = "recall@100") -> str:
    """Which epoch is kept, and whether it is also the best single one."""
    if metric not in history:
        return f"Epoch {best_epoch} of {len(history)} is kept, the last: nothing was validated."
    values = history.set_index("epoch")[metric]
    mean = values.rolling(EPOCHS_AVERAGED, min_periods=1).mean()
    single = int(history["epoch"].iloc[int(values.argmax())])
    others = (
        "it is also the best single epoch"
        if single == best_epoch
        else (f"the best single epoch is {single}, with {values[single]:.4f} against {values[best_epoch]:.4f}")
    )
    return (
        f"Epoch {best_epoch} of {len(history)} is kept: the mean of its {metric} and of up to {EPOCHS_AVERAGED - 1} "
        f"epochs before is the highest, {mean[best_epoch]:.4f}; {others}."
    )


def health(numbers: pd.DataFrame) -> str:
    """From the first epoch to the last: does the gap grow, do vectors spread (``vector_health.by_epoch``)?"""
    gap = numbers["distance, any other"] - numbers["distance, bought"]
    lines = {"the gap between another customer's article and the customer's own": gap}
    lines |= {name: numbers[name] for name in ("uniformity, articles", "uniformity, customers")}
    lines |= {"the effective rank of the embeddings": numbers["effective rank of embeddings"]}
    parts = []
    for name, values in lines.items():
        first, last = float(values.iloc[0]), float(values.iloc[-1])
        verb = "grows" if last > first else "falls" if last < first else "stays"
        parts.append(f"{name} {verb} from {first:.2f} to {last:.2f}")
    return f"From the first epoch to the last, {'; '.join(parts)}."


# ---- notebook 04 -----------------------------------------------------------------------------


def best_baselines(evaluation: Evaluation, rivals: Sequence[str]) -> str:
    """The best baseline by each metric, and those that a random ranking is as good as."""
    best = {metric: max(rivals, key=lambda name: evaluation.mean(name, metric)) for metric in ("MAP@12", "recall@100")}
    one, other = best.values()
    numbers = ", ".join(f"{metric} {evaluation.mean(name, metric):.4f}" for metric, name in best.items())
    if one == other:
        return f"The best baseline by both metrics is *{one}* ({numbers})."
    return f"The best baseline by MAP@12 is *{one}*, by recall@100 *{other}* ({numbers})."


def coverage(evaluation: Evaluation, rivals: Sequence[str]) -> str:
    """Whether the published ranking shows more of the catalogue than the baselines."""
    shares = evaluation.beyond_accuracy[COVERAGE]
    wider = shares[[name for name in rivals if name != "random" and shares[name] > shares[PUBLISHED]]]
    words = f"less than {joined(wider.index)}" if len(wider) else "more than every baseline but a random ranking"
    return f"The first 12 of the published ranking cover {shares[PUBLISHED]:.1%} of the catalogue, {words}."


def depth(curves: pd.DataFrame, rival: str) -> str:
    """At how many lengths the published ranking is ahead (``error_analysis.recall_by_depth``)."""
    ours, theirs = curves[PUBLISHED], curves[rival]
    ahead = int((ours > theirs).sum())
    words = "every length" if ahead == len(ours) else "no length" if not ahead else f"{ahead} of {len(ours)} lengths"
    return (
        f"*{PUBLISHED}* finds {ours.iloc[11]:.1%} of the purchases in 12 articles and {ours.iloc[-1]:.1%} in "
        f"{len(ours)}. It is ahead of *{rival}* at {words}."
    )


def cold_start(gains: pd.DataFrame, customers: int) -> str:
    """The towers against best-sellers, for customers without purchases.

    Args:
        gains: a row a difference ("two-tower, … − recent popularity"), columns as ``Evaluation.against``.
        customers: number of test customers who never bought.
    """
    low, high = gains["MAP@12", "low"], gains["MAP@12", "high"]
    found = {"above 0": low > 0, "below 0": high < 0, "not different from 0 or unknown": ~((low > 0) | (high < 0))}
    parts = [f"{words}: {joined(gains.index[rows])}" for words, rows in found.items() if rows.any()]
    return f"{customers:,} customers of the test had never bought. By MAP@12, {'; '.join(parts)}."


def reliability(curves: pd.DataFrame, temperature: float) -> str:
    """Whether scores are probabilities, and whether the temperature makes them so (``reliability.reliability``)."""
    parts = dict(list(curves.groupby("curve", sort=False)))
    if not parts:
        return "There are too few purchases to count frequencies."
    ratios = {str(name): mean_ratio(part) for name, part in parts.items()}
    if "as fitted" not in ratios:
        return "As fitted, the scores have too few purchases in a bin to count frequencies."
    first = next(iter(parts.values()))
    often = (first["observed"] / first["predicted"]).to_numpy()[np.argsort(first["predicted"].to_numpy())]
    text = (
        f"As fitted, the likeliest pairs are bought {often[-1]:.2f} times as often as predicted, the least likely of "
        f"the figure {often[0]:.2f} times; the mean factor between the two is {ratios.pop('as fitted'):.2f}."
    )
    if not ratios:
        return f"{text} The temperature of the validation days is {temperature:.1f}, so there is one curve."
    (ratio,) = ratios.values()
    better = "closer" if ratio < mean_ratio(first) else "not closer"
    return f"{text} With the temperature of the validation days, {temperature:.1f}, it is {ratio:.2f}: {better}."


def search_cost(found: pd.DataFrame, leaves: int, of_leaves: int, recall: float) -> str:
    """The cost of the search in service against exact search (``index_tuning.search_curve``)."""
    cost, exact = found.set_index("leaves")["microseconds"][leaves], found.attrs["exact"]
    words = f"{exact / cost:.1f} times as fast" if exact > cost else "not faster on a catalogue of this size"
    return (
        f"{leaves:,} of {of_leaves:,} leaves are enough for {recall:.1%} of exact search's ranking, in {cost:,.0f} µs "
        f"a query; exact search takes {exact:,.0f} µs. ScaNN is {words}."
    )


def missed(shares: pd.DataFrame, missed_share: float) -> str:
    """The statements that set missed purchases apart (``error_analysis.Reasons.shares``)."""
    gap = shares["missed"] - shares["found"]
    text = f"{missed_share:.0%} of the purchases are missed."
    if gap.isna().all():
        return f"{text} There is nothing to compare them with."
    name, rarer = str(gap.idxmax()), str(gap.idxmin())
    of_missed, of_found = shares["missed"][name], shares["found"][name]
    numbers = f"“{name}” is true of {of_missed:.0%} of them and of {of_found:.0%} of the found"
    if gap[name] <= 0:
        return f"{text} No statement is true more often of missed purchases than of found ones."
    if gap[rarer] >= 0:
        return f"{text} The largest difference: {numbers}."
    return f"{text} The largest difference: {numbers}. “{rarer}” is true more often of found ones."


def bullets(lines: Sequence[str]) -> str:
    """A Markdown list."""
    return "\n".join(f"- {line}" for line in lines)
