"""Customers as a table to read: what they bought, what they would have been shown, what they bought then."""

from __future__ import annotations

from html import escape

import numpy as np
import pandas as pd
from IPython.display import HTML

from hm_utils.arrays import Int32
from hm_utils.data.purchases import Baskets, PurchaseLog

ENOUGH = 3  # purchases before, for a list to have something to go by


def some_customers(truth: Baskets, log: PurchaseLog, as_of: int, customers: int = 10, seed: int = 0) -> Int32:
    """Places in ``truth`` of customers drawn at random, not by how well they were served: of those with three
    purchases before or more, if there are any."""
    before = log.history_ends(truth.customers, as_of) - log.offsets[truth.customers]
    places = np.flatnonzero(before >= ENOUGH)
    places = places if len(places) else np.arange(len(truth))
    drawn = np.random.default_rng(seed).choice(places, min(customers, len(places)), replace=False)
    return np.sort(drawn).astype(np.int32)


def lists_table(
    places: Int32, ranked: Int32, truth: Baskets, log: PurchaseLog, articles: pd.DataFrame, as_of: int, k: int = 12
) -> HTML:
    """A row a customer: the last purchases, the first k of the list with hits marked, and what was bought then.

    Args:
        places: rows of ``truth`` and of ``ranked``.
        ranked: ``[n, 100]`` lists of every customer of the truth.
    """
    names = articles["prod_name"].astype(str) + ", " + articles["colour_group_name"].astype(str)
    head = ("bought before, latest first", f"recommended, the first {k}", "bought in the test days")
    rows = []
    for place in places:
        customer = truth.customers[place]
        end = int(log.history_ends(np.array([customer]), as_of)[0])
        history = np.arange(end - 1, max(int(log.offsets[customer]), end - k) - 1, -1)
        past = [f"{escape(names[log.article[row]])} <small>{as_of - log.day[row]}&nbsp;d</small>" for row in history]
        more = end - int(log.offsets[customer]) - len(history)
        bought = truth.articles[truth.offsets[place] : truth.offsets[place + 1]]
        own = set(log.article[int(log.offsets[customer]) : end].tolist())
        list_ = ranked[place]
        shown = [
            _marked(escape(names[article]), article in bought, article in own) for article in list_[:k] if article >= 0
        ]
        rank = {int(article): position for position, article in enumerate(list_, start=1) if article >= 0}
        then = [
            _marked(escape(names[article]), article in rank, article in own, f"place {rank.get(int(article), 0)}")
            for article in sorted(bought.tolist(), key=lambda article: rank.get(article, 1_000))
        ]
        cells = (_list(past, more), _list(shown), _list(then[:k], len(then) - k))
        rows.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    header = "".join(f'<th class="text" scope="col">{text}</th>' for text in head)
    return HTML(f'<table class="lists"><thead><tr>{header}</tr></thead><tbody>{"".join(rows)}</tbody></table>')


def _marked(name: str, hit: bool, own: bool, where: str = "") -> str:
    again = " <small>again</small>" if own else ""
    if not hit:
        return name + again
    return f'<b class="hit">✓ {name}</b>{again}' + (f" <small>{where}</small>" if where else "")


def _list(lines: list[str], more: int = 0) -> str:
    rest = f"<small>and {more:,} more</small>" if more > 0 else ""
    return "<ol>" + "".join(f"<li>{line}</li>" for line in lines) + f"</ol>{rest}"
