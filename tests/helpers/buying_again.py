"""What speaks for buying again, by loops over the log: the reference of hm_utils.model.repurchase."""

from __future__ import annotations

import math
from collections import defaultdict
from itertools import pairwise

import numpy as np

from hm_utils.arrays import Bool, Float64, Int32
from hm_utils.data.features import FIRST_CODE
from hm_utils.data.purchases import PurchaseLog
from hm_utils.model.repurchase import PRIOR_GAPS, PRIOR_PURCHASES, TERMS
from hm_utils.model.scoring import Scoring


def purchase_days(log: PurchaseLog, customer: int, as_of: int) -> dict[int, list[int]]:
    """Days since every purchase before ``as_of``, by article, oldest first."""
    found: dict[int, list[int]] = defaultdict(list)
    for row in range(log.offsets[customer], log.offsets[customer + 1]):
        if log.day[row] < as_of:
            found[int(log.article[row])].append(as_of - int(log.day[row]))
    return found


def repeat_rates(log: PurchaseLog, as_of: int) -> tuple[list[float], list[float]]:
    """Log odds of a repeat less the shop's, and mean log gaps, by article."""
    bought, repeated, gaps = np.zeros(log.n_articles), np.zeros(log.n_articles), np.zeros(log.n_articles)
    for customer in range(log.n_customers):
        for article, days in purchase_days(log, customer, as_of).items():
            visits = sorted(set(days), reverse=True)
            bought[article] += len(visits)
            repeated[article] += len(visits) - 1
            gaps[article] += sum(math.log(a - b) for a, b in pairwise(visits))
    shop, gap = repeated.sum() / bought.sum(), gaps.sum() / repeated.sum()
    rates = [(r + PRIOR_PURCHASES * shop) / (b + PRIOR_PURCHASES) for r, b in zip(repeated, bought, strict=True)]
    again = [math.log(rate / (1 - rate)) - math.log(shop / (1 - shop)) for rate in rates]
    return again, [(g + PRIOR_GAPS * gap) / (r + PRIOR_GAPS) for g, r in zip(gaps, repeated, strict=True)]


def log_prices(log: PurchaseLog, as_of: int) -> list[float]:
    """Log of each article's mean price, less the mean of these; 0 for an article that was never sold."""
    paid = [log.price[(log.article == article) & (log.day < as_of)] for article in range(log.n_articles)]
    logs = {article: math.log(prices.mean()) for article, prices in enumerate(paid) if len(prices)}
    return [logs[article] - sum(logs.values()) / len(logs) if article in logs else 0.0 for article in range(len(paid))]


def terms(log: PurchaseLog, as_of: int, products: Int32, on_sale: Bool, known: bool = True) -> Float64:
    """``[n_customers, n_articles, len(TERMS)]``, all 0 for an article that is no relative."""
    found = np.zeros((log.n_customers, log.n_articles, len(TERMS)))
    if as_of == 0 or not known:
        return found
    (again, log_gap), log_price = repeat_rates(log, as_of), log_prices(log, as_of)
    for customer in range(log.n_customers):
        mine = purchase_days(log, customer, as_of)
        for article, days in mine.items():
            visits, last = sorted(set(days)), min(days)
            times = len(visits)
            gap = log_gap[article]
            if times > 1:
                gap = (math.log((max(days) - last) / (times - 1)) * (times - 1) + gap) / times
            found[customer, article] = [
                1,
                math.log(sum(1 / day for day in days)),
                math.log(last),
                math.log(times),
                math.log(len(mine)),
                again[article],
                abs(math.log(last) - gap),
                log_price[article],
                0,
            ]
        for article in range(log.n_articles):
            same = any(products[article] == products[own] >= FIRST_CODE for own in mine)
            if same and on_sale[article] and article not in mine:
                found[customer, article, -1] = 1
    return found


def scores(scoring: Scoring, logits: Float64, popularity: Float64, every_term: Float64) -> Float64:
    """``[n, n_articles]`` whole scores from the towers' logits ``[n, n_articles]``."""
    bought, weights = every_term[:, :, 0] > 0, scoring.repurchase
    cold = ~bought.any(axis=1, keepdims=True)
    score = np.where(cold, scoring.cold_taste, scoring.taste) * logits
    score += np.where(cold, scoring.cold_popularity, scoring.popularity) * popularity
    if weights is None:
        return score
    own = weights.taste * logits + weights.popularity * popularity
    return np.where(bought, own, score) + every_term @ np.array(weights.terms)
