"""The constants of the sample's effects, each with the figure of the real data by which it is fitted.

``python -m benchmarks.realism --fit 5`` fits them. A small catalogue has values of its own: a list of 100 articles is a
hundredth of 10,000 articles and a thousandth of 105,542, so equal scores need other shares of sales.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

N_REAL, N_SMALL = 105_542, 10_000  # articles


# ---- the same at every size; each with its figure -------------------------------------------------------------------

# Visits. Spread of the log gap between visits: quartiles 7, 23 and 57 days. Exponent below 1: 8.1 % of a week's buyers
# never bought before.
GAP_SPREAD, COLD_START = 1.45, 0.75
# Mean and spread of the log number of lines of a basket, and the most: 3.12 rows a basket, 33 % with one.
BASKET_MEAN, BASKET_SPREAD, BASKET_MAX = 0.49, 0.85, 60
ONLINE_BASKET = 0.45  # log ratio of online to store baskets
# Probabilities that a line has two or three pieces: 9.2 % have more than one. In a small catalogue, two lines of a
# basket are often the same article by chance, so it needs only the share SMALL_SHOP of these.
QUANTITY, SMALL_SHOP = (0.008, 0.002), 0.375

# Assortment. Share of products that never end; spread of the log weeks on sale; share of the trend left a week later:
# of a week's top 100 articles, 49 to 62 are in the next week's.
EVERGREEN_SHARE, LIFE_SPREAD, TREND_KEPT = 0.06, 0.6, 0.85
BASE_SPREAD = (1.0, 0.25)  # of the log appeal between products, and between variants of one: share of the top articles

# Preferences. Scales of the parts of a liking, before Constants.taste: what two articles of a basket share.
STYLE, SECTION, DEPARTMENT, GARMENT, TYPE, COLOUR, INDEX_GROUP, PRICE = 5.0, 1.0, 0.5, 0.7, 0.4, 0.5, 1.8, 0.6
AWAY_DAYS, USUAL_GAP = 30.0, 23.0  # days away at which half of the focus is lost that can be; median gap of visits
AGE_WIDTH = 7.5  # years; segments attract customers around their age: buyers of Divided are young

# Repurchases.
TRIES = 3  # draws of another article in place of an owned one
RECALL_DAYS = 0.84  # until the recall falls
VARIANT = 0.1  # share of repurchases that take another variant: 8.5 % of purchases repeat a product, 4.7 % an article
HIGHEST = 0.9  # probability of a repurchase, for the most loyal
LOYALTY_SHAPE, LOYALTY_MAX = 1.5, 4.0  # of a gamma distribution with mean 1: customers differ in how much they repeat
# Garment group -> days until a staple is due again: tights, underwear, jersey basics, jeans.
STAPLE_DAYS = {1021: 30.0, 1017: 60.0, 1002: 75.0, 1016: 150.0}


# ---- fitted, with one value for the real size and one for small catalogues -----------------------------------------


@dataclass(frozen=True)
class Constants:
    """The fitted constants of the generator for one size of the catalogue."""

    # How far the articles of a department follow its sales, not its real number of articles: recall@100 of user-user
    # kNN. The known sales are those of one week and uneven: without it, a third of a catalogue would be children's
    # clothes without sales.
    stock_tilt: float
    spread: float  # scale of the appeal of products, and of its trend: recall@100 of best-sellers of 28 days
    head: float  # share of the appeal above its 98th percentile that counts: their recall@12
    trend: float  # spread of the weekly trend of a product's log appeal: MAP@12 of best-sellers of a week
    evergreen: float  # appeal of articles that never end, relative to others: MAP@12 of best-sellers of all time
    launch: float  # appeal in the first week, relative to the third: share of sales of articles first sold in the week
    decline: float  # fall of the log appeal over a life: 26 of a week's top 100 articles are there four weeks later
    life_weeks: float  # median weeks on sale: number of articles sold in a week
    weeks_before: float  # before the log, of the first launches: share of the sold articles first sold in the week
    taste: float  # scale of the segments' likings: MAP@12 of user-user kNN
    age: float  # scale of the effect of a customer's age on the segment: MAP@12 of best-sellers by age
    concentration: float  # effect of the traits on the segment: MAP@12 of customers active in the last 30 days
    wander: float  # share of the focus that is lost after long: MAP@12 of dormant customers
    repurchase: float  # highest mean probability that a line is a repurchase: pairs bought before
    repeat_spread: float  # of the log rates at which products are repurchased: MAP@12 of repurchase, popular
    recall_half: float  # sum of recalls at half of that probability: recall@50 of own history; lower: short ones repeat
    recall_power: float  # of the fall of the recall: median of the days between repeats
    staples: float  # weight of a staple that is due: upper quartile of the days between repeats
    shared: tuple[float, ...]  # probability of each of behaviour.SHARED: share of a basket's pairs with the same value
    steepness: float = 1.0  # exponent of popularity; at other values departments and colours miss their shares


FULL = Constants(
    stock_tilt=0.45,
    spread=1.05,
    head=0.48,
    trend=0.83,
    evergreen=3.7,
    launch=0.37,
    decline=3.8,
    life_weeks=50.0,
    weeks_before=55.0,
    taste=1.17,
    age=0.53,
    concentration=7.0,
    wander=0.45,
    repurchase=0.316,
    repeat_spread=1.32,
    recall_half=0.28,
    recall_power=1.84,
    staples=0.006,
    shared=(0.28, 0.07, 0.19, 0.015, 0.004, 0.003, 0.02, 0.005),
)
SMALL = Constants(
    stock_tilt=0.9,
    spread=0.15,
    head=0.29,
    trend=0.85,
    evergreen=1.2,
    launch=0.65,
    decline=1.1,
    life_weeks=44.0,
    weeks_before=40.0,
    taste=1.2,
    age=1.0,
    concentration=7.0,
    wander=0.0,
    repurchase=0.285,
    repeat_spread=1.7,
    recall_half=1.0,
    recall_power=1.2,
    staples=0.01,
    shared=(0.214, 0.08, 0.201, 0.05, 0.03, 0.021, 0.051, 0.01),
)


def smallness(n_articles: int) -> float:
    """0 for a catalogue of the real size, 1 for at most 10,000 articles, between by the logarithm."""
    return float(np.clip(np.log(N_REAL / n_articles) / np.log(N_REAL / N_SMALL), 0, 1))


def constants_for(n_articles: int) -> Constants:
    """The constants of a catalogue with ``n_articles`` articles: between :data:`FULL` and :data:`SMALL`."""
    small = smallness(n_articles)
    full, least = asdict(FULL), asdict(SMALL)
    mixed = {name: (1 - small) * np.array(full[name]) + small * np.array(least[name]) for name in full}
    shared = tuple(mixed.pop("shared").tolist())
    return Constants(**{name: float(value) for name, value in mixed.items()}, shared=shared)
