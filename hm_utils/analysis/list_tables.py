"""Recommendations of single customers as a table: history, recommended articles, purchases (notebook 04)."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np
import pandas as pd
from IPython.display import HTML

from hm_utils.analysis.data_tables import article_names
from hm_utils.arrays import Int32
from hm_utils.data.preprocessing import Preprocessed
from hm_utils.data.purchases import Baskets, PurchaseLog
from hm_utils.serving.recommender import Recommender

MIN_PURCHASES = 3  # before the test days: a shorter history shows little


def some_customers(truth: Baskets, log: PurchaseLog, as_of: int, customers: int = 10, seed: int = 0) -> Int32:
    """Rows of ``truth`` of customers drawn at random, among those with three purchases before if there are any."""
    before = log.history_ends(truth.customers, as_of) - log.offsets[truth.customers]
    places = np.flatnonzero(before >= MIN_PURCHASES)
    places = places if len(places) else np.arange(len(truth))
    drawn = np.random.default_rng(seed).choice(places, min(customers, len(places)), replace=False)
    return np.sort(drawn).astype(np.int32)


def lists_table(
    places: Int32, ranked: Int32, truth: Baskets, log: PurchaseLog, articles: pd.DataFrame, as_of: int, k: int = 12
) -> HTML:
    """One row per customer: the last k purchases, the first k recommendations with hits marked, and the purchases.

    Args:
        places: rows of ``truth`` and of ``ranked``.
        ranked: ``[len(truth), 100]`` article rows, -1 where a ranking ends.
    """
    names = article_names(articles)
    head = ("bought before, latest first", f"recommended, the first {k}", "bought in the test days")
    rows = []
    for place in places:
        customer = truth.customers[place]
        start, end = int(log.offsets[customer]), int(log.history_ends(np.array([customer]), as_of)[0])
        history = np.arange(end - 1, max(start, end - k) - 1, -1)
        past = [f"{escape(names[log.article[row]])} <small>{as_of - log.day[row]}&nbsp;d</small>" for row in history]
        bought = truth.articles[truth.offsets[place] : truth.offsets[place + 1]].tolist()
        own = set(log.article[start:end].tolist())
        ranking = [article for article in ranked[place].tolist() if article >= 0]
        shown = [_marked(escape(names[article]), article in bought, article in own) for article in ranking[:k]]
        rank = {article: position for position, article in enumerate(ranking, start=1)}
        then = [
            _marked(escape(names[article]), article in rank, article in own, f"place {rank.get(article)}")
            for article in sorted(bought, key=lambda article: rank.get(article, 1_000))
        ]
        cells = (_list(past, end - start - len(history)), _list(shown), _list(then[:k], len(then) - k))
        rows.append(_row(head, cells))
    return _table(head, rows)


def published_lists(recommender: Recommender, data: Preprocessed, customers: int, k: int, seed: int = 0) -> HTML:
    """A few random customers: the last k purchases, and beside them the k articles that they would be shown."""
    log = data.log
    counts = np.diff(log.offsets)
    candidates = np.flatnonzero(counts >= (k if (counts >= k).any() else 1))
    drawn = np.sort(np.random.default_rng(seed).choice(candidates, min(customers, len(candidates)), replace=False))
    articles, scores = recommender.recommend(recommender.customers(drawn), k)
    names = article_names(data.articles)
    head = ("customer", f"bought, the last {k}", "recommended now, with the score")
    rows = []
    for row, ranked, score in zip(drawn, articles, scores, strict=True):
        bought = log.article[log.offsets[row] : log.offsets[row + 1]][::-1][:k]
        own = set(log.article[log.offsets[row] : log.offsets[row + 1]].tolist())
        customer_id = str(data.customers["customer_id"][row])
        shown = [
            _marked(escape(names[article]), False, article in own) + f" <small>{number:.2f}</small>"
            for article, number in zip(ranked.tolist(), score, strict=True)
            if article >= 0
        ]
        cells = (
            f"<code>{escape(customer_id if len(customer_id) <= 20 else f'{customer_id[:8]}…')}</code>",
            _list([escape(names[article]) for article in bought]),
            _list(shown),
        )
        rows.append(_row(head, cells))
    return _table(head, rows)


def _table(head: Sequence[str], rows: list[str]) -> HTML:
    header = "".join(f'<th class="text" scope="col">{text}</th>' for text in head)
    return HTML(f'<table class="lists"><thead><tr>{header}</tr></thead><tbody>{"".join(rows)}</tbody></table>')


def _row(head: Sequence[str], cells: Sequence[str]) -> str:
    """A row; a phone shows each cell below its heading."""
    labelled = (f'<td data-label="{text}">{cell}</td>' for text, cell in zip(head, cells, strict=True))
    return f"<tr>{''.join(labelled)}</tr>"


def _marked(name: str, hit: bool, own: bool, where: str = "") -> str:
    again = " <small>again</small>" if own else ""
    if not hit:
        return name + again
    return f'<b class="hit">✓ {name}</b>{again}' + (f" <small>{where}</small>" if where else "")


def _list(lines: list[str], more: int = 0) -> str:
    rest = f"<small>and {more:,} more</small>" if more > 0 else ""
    return "<ol>" + "".join(f"<li>{line}</li>" for line in lines) + f"</ol>{rest}"
