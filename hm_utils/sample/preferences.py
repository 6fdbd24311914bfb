"""Preferences: the segments of customers, and the articles that each segment likes.

Every visit belongs to one of ``N_SEGMENTS`` segments. With the traits x of the customer (customers.py),

    P(segment z | customer)      = softmax_z( bias[z] + focus x . attraction[:, z] )
    P(article a | segment z, week) = softmax_a( liking[z, a] + log_appeal[week, a] )    over the articles on sale

so a customer's probability of an article is a mixture of softmaxes. A single dot product cannot express it, yet it is
exact, and drawing from it needs only one table per week and segment. The focus falls with the days since the last
visit: who comes back after long, or for the first time, looks around. The liking of a segment for an article is a sum
over style, section, department, garment group, type, colour, index group, and the distance to the preferred price.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from hm_utils.arrays import Float32, Float64
from hm_utils.sample import departments as department_data
from hm_utils.sample import vocabularies as voc
from hm_utils.sample.catalogue import Catalogue
from hm_utils.sample.constants import (
    AGE_WIDTH,
    AWAY_DAYS,
    COLOUR,
    DEPARTMENT,
    GARMENT,
    INDEX_GROUP,
    PRICE,
    SECTION,
    STYLE,
    TYPE,
    USUAL_GAP,
    Constants,
)
from hm_utils.sample.customers import N_INDEX_GROUPS, N_STYLE_TRAITS

N_SEGMENTS = 96
# By index group: number of segments, and share of all sales (in the last week of the real data).
_INDEX_GROUPS = {1: (54, 0.626), 2: (22, 0.243), 3: (8, 0.057), 4: (6, 0.020), 26: (6, 0.055)}
_AGE_CENTRES = {1: (38, 11), 2: (23, 5), 3: (33, 9), 4: (35, 4), 26: (30, 8)}  # mean and spread over the segments


@dataclass(frozen=True)
class Preferences:
    """The parameters of the formulas above (t traits, z segments, a articles).

    Attributes:
        attraction: ``[t, z]``.
        bias: ``[z]``.
        liking: ``[z, a]``.
    """

    attraction: Float32
    bias: Float32
    liking: Float32

    def segments(self, traits: Float32, focus: Float32) -> Float32:
        """``[n, z]`` probability of each segment for customers with ``traits [n, t]`` and ``focus [n]``."""
        return softmax(focus[:, None] * (traits @ self.attraction) + self.bias)


def focus(days_away: npt.NDArray, constants: Constants) -> Float32:
    """``[n]`` how far the traits decide on a visit ``days_away`` after the last one (infinite: the first visit)."""
    return (1.0 - constants.wander * (1.0 - AWAY_DAYS / (days_away + AWAY_DAYS))).astype(np.float32)


def softmax(logits: Float32) -> Float32:
    """Softmax over the last axis."""
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return weights / weights.sum(axis=-1, keepdims=True)


def make_preferences(
    catalogue: Catalogue, traits: Float32, constants: Constants, rng: np.random.Generator
) -> tuple[Preferences, Float32]:
    """Draw the segments. Fit their sizes and the appeal of departments and colours to the real shares of sales.

    Returns:
        The preferences, and ``[a]`` the offset to add to every week's log appeal.
    """
    index_group = np.repeat(list(_INDEX_GROUPS), [n for n, _ in _INDEX_GROUPS.values()])
    style = rng.dirichlet(np.full(len(voc.STYLES), 0.35), N_SEGMENTS)
    # The attraction of a segment depends on its style, and on noise that no attribute of an article shows.
    pull = style - style.mean(axis=0) + 0.25 * rng.normal(size=style.shape)
    pull /= np.linalg.norm(pull, axis=1, keepdims=True)
    price = rng.normal(0, 1, N_SEGMENTS)
    centre = np.array([rng.normal(*_AGE_CENTRES[group]) for group in index_group])
    own = index_group[:, None] == np.array(list(_INDEX_GROUPS))
    attraction = np.column_stack(
        [
            constants.concentration * pull,
            0.5 * constants.concentration * price,
            0.8 * constants.concentration * own,
            constants.age * 10 * (centre - 36) / AGE_WIDTH**2,
        ]
    ).T
    target = rng.dirichlet(np.full(N_SEGMENTS, 4.0))
    for group, (_, share) in _INDEX_GROUPS.items():
        target[index_group == group] *= share / target[index_group == group].sum()
    preferences = Preferences(
        attraction=attraction.astype(np.float32),
        bias=np.zeros(N_SEGMENTS, dtype=np.float32),
        liking=_liking(catalogue, index_group, style, price, constants.taste, rng),
    )
    bias = _fit_bias(preferences, traits[:: max(1, len(traits) // 20_000)], target, constants)
    preferences = Preferences(preferences.attraction, bias, preferences.liking)
    return preferences, _fit_appeal(catalogue, preferences.liking, target)


def _liking(
    catalogue: Catalogue,
    index_group: npt.NDArray,
    style: Float64,
    price: Float64,
    taste: float,
    rng: np.random.Generator,
) -> Float32:
    """``[z, a]`` liking of each segment for each article."""
    table = catalogue.table

    def by(column: str, scale: float) -> Float64:
        """``[z, a]`` a random liking of each segment for each value of a column."""
        codes, values = pd.factorize(table[column], sort=True)
        return scale * rng.normal(size=(N_SEGMENTS, len(values)))[:, codes]

    liking = STYLE * (style @ catalogue.styles.T)
    liking += by("section_no", SECTION) + by("department_no", DEPARTMENT) + by("garment_group_no", GARMENT)
    liking += by("product_type_no", TYPE) + by("perceived_colour_master_id", COLOUR)
    # The preferred price is relative to the department: socks are cheap for every segment.
    typical = department_data.departments()["price"].to_numpy()[catalogue.department]
    gap = np.log(catalogue.price / typical) / 0.4 - price[:, None]
    liking -= 0.5 * PRICE * np.minimum(gap**2, 9)
    own = index_group[:, None] == table["index_group_no"].to_numpy()
    return (taste * liking + INDEX_GROUP * own).astype(np.float32)


def _fit_bias(preferences: Preferences, traits: Float32, target: Float64, constants: Constants) -> Float32:
    """``[z]`` the bias with which the mean probabilities of the segments equal ``target``, after a usual gap."""
    bias = np.log(target)
    pull = focus(np.array([USUAL_GAP]), constants) * (traits @ preferences.attraction)
    for _ in range(30):
        share = softmax(pull + bias.astype(np.float32)).mean(axis=0)
        bias += 0.8 * np.log(target / np.maximum(share, 1e-9))
    return bias.astype(np.float32)


def _fit_appeal(catalogue: Catalogue, liking: Float32, segments: Float64) -> Float32:
    """``[a]`` the sum of offsets per department, colour and index group that bring sales near the real shares."""
    departments, colours = department_data.departments(), voc.colours()
    colour = pd.Index(colours["code"]).get_indexer(pd.Index(catalogue.table["colour_group_code"]))
    offset = np.zeros(len(colour))
    # Half of the weight is on the last four weeks (the real figures are recent), half on the whole log.
    log_appeal = catalogue.log_appeal
    weeks = [*log_appeal[:: -max(1, len(log_appeal) // 8)], *log_appeal[-4:], *log_appeal[-4:]]
    group = pd.Index(list(_INDEX_GROUPS)).get_indexer(pd.Index(catalogue.table["index_group_no"]))
    margins = [  # group of each article, target shares, limit of a step
        (catalogue.department, departments["sales"].to_numpy(), 2.0),
        (colour, colours["sales"].to_numpy(), 1.5),
        (group, np.array([share for _, share in _INDEX_GROUPS.values()]), 2.0),
    ]
    for codes, rates, limit in margins * 6:
        sold = np.full(len(rates), 1e-6)
        for appeal in weeks:
            on_sale = np.flatnonzero(np.isfinite(appeal))
            shares = softmax(liking[:, on_sale] + (appeal + offset).astype(np.float32)[on_sale])
            sold += np.bincount(codes[on_sale], weights=segments @ shares, minlength=len(rates)) / len(weeks)
        # The limit bounds each step, because a group with almost nothing on sale cannot reach its share.
        offset += 0.8 * np.clip(np.log((rates / rates.sum() + 1e-6) / sold), -limit, limit)[codes]
    return offset.astype(np.float32)


assert len(_INDEX_GROUPS) == N_INDEX_GROUPS
assert sum(n for n, _ in _INDEX_GROUPS.values()) == N_SEGMENTS
assert len(voc.STYLES) == N_STYLE_TRAITS
