"""Preferences: the segments that shoppers move between, and what each segment likes.

A visit is made in the mood of one of ``N_SEGMENTS`` segments. With traits x of the customer (customers.py),

    P(segment z | customer)      = softmax_z( bias[z] + x . attraction[:, z] )
    P(article a | segment z, week) = softmax_a( liking[z, a] + log_appeal[week, a] )    over the articles on sale

so a customer's probability of an article is a mixture of softmaxes: no single dot product writes it down, yet it is
exact, and a table per week and segment is all that drawing from it needs. The liking of a segment for an article
adds up style, section, department, garment group, type, colour, part of the shop, and how far the price is from the one
it favours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from hm_utils.arrays import Float32, Float64
from hm_utils.sample import customers as people
from hm_utils.sample import departments as department_data
from hm_utils.sample import vocabularies as voc
from hm_utils.sample.catalogue import Catalogue

N_SEGMENTS = 64
# Segments a part of the shop is home to, and its share of all sales (the last week of the real data).
_WORLDS = {1: (36, 0.626), 2: (15, 0.243), 3: (5, 0.057), 4: (4, 0.020), 26: (4, 0.055)}
_AGE_CENTRES = {1: (38, 11), 2: (23, 5), 3: (33, 9), 4: (35, 4), 26: (30, 8)}  # mean and spread over the segments

# What a liking is made of.
STYLE, SECTION, DEPARTMENT, GARMENT, TYPE, COLOUR, WORLD, PRICE = 5.0, 1.0, 0.5, 0.7, 0.4, 0.5, 1.8, 0.6
CONCENTRATION = 4.0  # how strongly traits decide the segment: higher means fewer segments a customer
_AGE_WIDTH = 7.5  # years; segments attract people around their age


@dataclass(frozen=True)
class Preferences:
    """See the module's formulas (t traits, z segments, a articles).

    Attributes:
        attraction: ``[t, z]`` float32.
        bias: ``[z]`` float32.
        liking: ``[z, a]`` float32.
    """

    attraction: Float32
    bias: Float32
    liking: Float32

    def segments(self, traits: Float32) -> Float32:
        """``[n, z]`` probability of each segment for customers with ``traits`` (``[n, t]``)."""
        return softmax(traits @ self.attraction + self.bias)


def softmax(logits: Float32) -> Float32:
    """Softmax over the last axis."""
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return weights / weights.sum(axis=-1, keepdims=True)


def make_preferences(catalogue: Catalogue, traits: Float32, rng: np.random.Generator) -> tuple[Preferences, Float32]:
    """Draw the segments, and fit their sizes, and the appeal of departments and colours, to the real shares of sales.

    Returns:
        The tastes, and ``[a]`` what to add to every week's log appeal.
    """
    world = np.repeat(list(_WORLDS), [n for n, _ in _WORLDS.values()])
    style = rng.dirichlet(np.full(len(voc.STYLES), 0.35), N_SEGMENTS)
    # Half of a segment's pull on a customer is its style, half nothing that the catalogue shows.
    pull = style - style.mean(axis=0) + 0.25 * rng.normal(size=style.shape)
    pull /= np.linalg.norm(pull, axis=1, keepdims=True)
    price = rng.normal(0, 1, N_SEGMENTS)
    centre = np.array([rng.normal(*_AGE_CENTRES[w]) for w in world])
    own = world[:, None] == np.array(list(_WORLDS))
    attraction = np.column_stack(
        [
            CONCENTRATION * pull,
            0.5 * CONCENTRATION * price,
            0.8 * CONCENTRATION * own,
            10 * (centre - 36) / _AGE_WIDTH**2 / 1.0,
        ]
    ).T
    target = rng.dirichlet(np.full(N_SEGMENTS, 4.0))
    for group, (_, share) in _WORLDS.items():
        target[world == group] *= share / target[world == group].sum()
    preferences = Preferences(
        attraction=attraction.astype(np.float32),
        bias=np.zeros(N_SEGMENTS, dtype=np.float32),
        liking=_liking(catalogue, world, style, price, rng),
    )
    bias = _fit_bias(preferences, traits[:: max(1, len(traits) // 20_000)], target)
    preferences = Preferences(preferences.attraction, bias, preferences.liking)
    return preferences, _fit_appeal(catalogue, preferences.liking, target)


def _liking(
    catalogue: Catalogue, world: npt.NDArray, style: Float64, price: Float64, rng: np.random.Generator
) -> Float32:
    """``[z, a]``."""
    table = catalogue.table

    def by(column: str, scale: float) -> Float64:
        """A taste of each segment for each value of a column."""
        codes, values = pd.factorize(table[column], sort=True)
        return scale * rng.normal(size=(N_SEGMENTS, len(values)))[:, codes]

    liking = STYLE * (style @ catalogue.styles.T)
    liking += by("section_no", SECTION) + by("department_no", DEPARTMENT) + by("garment_group_no", GARMENT)
    liking += by("product_type_no", TYPE) + by("perceived_colour_master_id", COLOUR)
    liking += WORLD * (world[:, None] == table["index_group_no"].to_numpy())
    # Prices within a department are what a segment is choosy about: socks are cheap for everyone.
    typical = department_data.departments()["price"].to_numpy()[catalogue.department]
    gap = np.log(catalogue.price / typical) / 0.4 - price[:, None]
    liking -= 0.5 * PRICE * np.minimum(gap**2, 9)
    return liking.astype(np.float32)


def _fit_bias(preferences: Preferences, traits: Float32, target: Float64) -> Float32:
    """The bias that makes the average customer's segments equal to ``target``."""
    bias = np.log(target)
    for _ in range(30):
        share = softmax(traits @ preferences.attraction + bias.astype(np.float32)).mean(axis=0)
        bias += 0.8 * np.log(target / np.maximum(share, 1e-9))
    return bias.astype(np.float32)


def _fit_appeal(catalogue: Catalogue, liking: Float32, segments: Float64) -> Float32:
    """``[a]`` a number a department, one a colour, one a part of the shop: they bring sales near to the real shares."""
    rooms, colours = department_data.departments(), voc.colours()
    colour = pd.Index(colours["code"]).get_indexer(pd.Index(catalogue.table["colour_group_code"]))
    margins = [(catalogue.department, rooms["sales"].to_numpy(), 2.0), (colour, colours["sales"].to_numpy(), 1.5)]
    offset = np.zeros(len(colour))
    # Half of the weight for the last weeks, the time that the real figures are of, half for the whole log.
    weeks = [
        *catalogue.log_appeal[:: -max(1, len(catalogue.log_appeal) // 8)],
        *catalogue.log_appeal[-4:],
        *catalogue.log_appeal[-4:],
    ]
    group = pd.Index(list(_WORLDS)).get_indexer(pd.Index(catalogue.table["index_group_no"]))
    margins.append((group, np.array([share for _, share in _WORLDS.values()]), 2.0))
    for codes, rates, limit in margins * 6:
        sold = np.full(len(rates), 1e-6)
        for appeal in weeks:
            on_sale = np.flatnonzero(np.isfinite(appeal))
            shares = softmax(liking[:, on_sale] + (appeal + offset).astype(np.float32)[on_sale])
            sold += np.bincount(codes[on_sale], weights=segments @ shares, minlength=len(rates)) / len(weeks)
        # One with next to nothing on sale cannot reach its share: the limit keeps it from trying.
        offset += 0.8 * np.clip(np.log((rates / rates.sum() + 1e-6) / sold), -limit, limit)[codes]
    return offset.astype(np.float32)


assert len(_WORLDS) == people.N_INDEX_GROUPS
assert sum(n for n, _ in _WORLDS.values()) == N_SEGMENTS
assert len(voc.STYLES) == people.N_STYLE_TRAITS
