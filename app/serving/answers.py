"""Answers to valid requests, computed with the model. Independent of HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import TypeAdapter

from app.schemas import (
    MAX_BATCH,
    MAX_TOP_K,
    Article,
    ArticleDetails,
    Articles,
    BatchRequest,
    Customer,
    HistoryEntry,
    Purchase,
    RecommendRequest,
    SimilarArticle,
    SimilarArticles,
)
from hm_utils.arrays import Float32, Int32
from hm_utils.model.scoring import BEST_SELLERS, TOWERS_ALONE

if TYPE_CHECKING:
    from hm_utils.serving.recommender import Recommender
    from hm_utils.serving.user_context import UserContext

MAX_PURCHASES = 200  # of one customer in an answer

# Candidates for a diversified ranking: this multiple of top_k, and at least the minimum.
CANDIDATES, MIN_CANDIDATES = 3, 60

ALTERNATIVES = {"two-tower": TOWERS_ALONE, "best-sellers": BEST_SELLERS}

to_json = TypeAdapter(Any).dump_json


class UnknownError(LookupError):
    """The model does not know the requested customer or article."""


def is_batchable(request: RecommendRequest) -> bool:
    """Whether it asks for nothing but a short ranking, which is the start of any longer one."""
    more = request.filters or request.diversity or request.exclude_purchased or request.include
    return not more and request.ranking == "published" and ranking_depth(request) <= MAX_TOP_K


def ranking_depth(request: RecommendRequest) -> int:
    """The length of a ranking that still has ``top_k`` articles without the excluded ones."""
    return request.top_k + len(excluded_ids(request))


def excluded_ids(request: RecommendRequest) -> list[str]:
    """The articles to exclude: those that the request names, and those of the current visit."""
    entries = request.history or []
    visited = [entry if isinstance(entry, str) else entry.article_id for entry in entries if days_ago(entry) == 0]
    return [*request.exclude_items, *visited]


def from_ranking(model: Recommender, request: RecommendRequest, articles: Int32, scores: Float32) -> bytes:
    """The answer to a batchable request as JSON, from a ranking of length :func:`ranking_depth`."""
    kept, excluded = articles >= 0, excluded_ids(request)
    if excluded:
        kept &= ~np.isin(articles, model.catalogue.rows(excluded))
    items = ranking(model, articles[kept][: request.top_k], scores[kept][: request.top_k])
    return response(request.customer_id, items)


def recommend(model: Recommender, request: RecommendRequest) -> bytes:
    """The answer to any request, as JSON.

    Raises:
        UnknownError: the customer is unknown, and the request has neither history nor attributes.
    """
    row = customer_row(model, request)
    user = user_context(model, request, row)
    excluded = [article for article in model.catalogue.rows(excluded_ids(request)).tolist() if article >= 0]
    if request.exclude_purchased and row is not None:
        excluded += model.log.article[model.log.offsets[row] : model.log.offsets[row + 1]].tolist()
    allowed = None
    if request.filters is not None:
        values = request.filters.model_dump(exclude_none=True, exclude={"price"})
        price = request.filters.price
        allowed = model.catalogue.matching(values, *(() if price is None else (price.min, price.max)))
    depth = max(CANDIDATES * request.top_k, MIN_CANDIDATES) if request.diversity else request.top_k
    left_out, scoring = np.unique(np.array(excluded, dtype=np.int32)), ALTERNATIVES.get(request.ranking)
    rankings, their_scores = model.recommend(user, depth, left_out, allowed, scoring)
    found = rankings[0] >= 0
    articles, scores = rankings[0][found], their_scores[0][found]
    if request.diversity:
        articles, scores = model.diversify(articles, scores, request.diversity, request.top_k)
    items, more = ranking(model, articles, scores), {}
    if "details" in request.include:
        for item, article in zip(items, articles.tolist(), strict=True):
            item["details"] = model.catalogue.details(article)
    if "reasons" in request.include:
        for item, reasons in zip(items, model.reasons(user, articles, scoring=scoring), strict=True):
            item["reasons"] = model.article_ids[reasons].tolist()
    if "total" in request.include:
        ranked = np.arange(len(model.article_ids)) if allowed is None else allowed
        more["total"] = len(np.setdiff1d(model.among_stock(ranked), left_out))
    return response(request.customer_id, items, **more)


def customer_row(model: Recommender, request: RecommendRequest) -> int | None:
    """The customer's row; None if the request itself describes somebody unknown.

    Raises:
        UnknownError: the customer is unknown, and the request has neither history nor attributes.
    """
    if request.customer_id is None:
        return None
    row = int(model.customer_rows([request.customer_id])[0])
    if row >= 0:
        return row
    if request.history is None and request.customer is None:
        raise UnknownError(
            "unknown customer: the model does not have this id; send history or customer to describe a new customer"
        )
    return None


def is_as_known(request: RecommendRequest, row: int | None) -> bool:
    """Whether the request says nothing new about a known customer."""
    return row is not None and not request.history and request.customer is None


def user_context(model: Recommender, request: RecommendRequest, row: int | None) -> UserContext:
    """The user's context."""
    if is_as_known(request, row):
        return model.customers(np.array([row]))
    entries = request.history or []
    rows = model.catalogue.rows([entry if isinstance(entry, str) else entry.article_id for entry in entries]).tolist()
    known = [(article, days_ago(entry)) for article, entry in zip(rows, entries, strict=True) if article >= 0]
    attributes = None if request.customer is None else request.customer.model_dump()
    if attributes is not None:
        attributes = (attributes.pop("other") or {}) | attributes
    return model.visitor(row, attributes, [article for article, _ in known], [days for _, days in known])


def days_ago(entry: str | HistoryEntry) -> int:
    """0 for the current visit, which a plain id belongs to."""
    return 0 if isinstance(entry, str) else entry.days_ago


def ranking(model: Recommender, articles: Int32, scores: Float32) -> list[dict[str, Any]]:
    """Article rows, best first, as the values of a ``Recommendation``. Its instances would take three times as long."""
    return [
        {"article_id": article_id, "score": score, "rank": rank}
        for rank, (article_id, score) in enumerate(
            zip(model.article_ids[articles].tolist(), scores.tolist(), strict=True), start=1
        )
    ]


def response(customer_id: str | None, items: list[dict[str, Any]], **more: Any) -> bytes:
    """A ``RecommendResponse`` as JSON."""
    return to_json({"customer_id": customer_id, "recommendations": items, "count": len(items), **more})


def batch_cost(request: BatchRequest) -> float:
    """The time of a batch as a share of the longest one's; finding a ranking takes as long as writing 75 articles."""
    return len(request.customer_ids) * (request.top_k + 75) / (MAX_BATCH * (MAX_TOP_K + 75))


def batch_part(model: Recommender, customer_ids: Sequence[str], top_k: int) -> tuple[list[bytes], list[str]]:
    """The results of the known customers of a batch as JSON, and the unknown ones' ids."""
    rows = model.customer_rows(customer_ids)
    known = [customer for customer, row in zip(customer_ids, rows, strict=True) if row >= 0]
    unknown = [customer for customer, row in zip(customer_ids, rows, strict=True) if row < 0]
    rankings, their_scores = model.recommend(model.customers(rows[rows >= 0]), top_k)
    results = [
        response(customer, ranking(model, articles[articles >= 0], scores[articles >= 0]))
        for customer, articles, scores in zip(known, rankings, their_scores, strict=True)
    ]
    return results, unknown


def whole_batch(parts: Sequence[tuple[list[bytes], list[str]]]) -> bytes:
    """The parts as a :class:`BatchResponse`."""
    results = [result for found, _ in parts for result in found]
    unknown = [customer for _, missing in parts for customer in missing]
    return b'{"results":[%b],"count":%d,"unknown":%b}' % (b",".join(results), len(results), to_json(unknown))


def article_row(model: Recommender, article_id: str) -> int:
    """The article's row.

    Raises:
        UnknownError: it is not in the catalogue.
    """
    row = int(model.catalogue.rows([article_id])[0])
    if row < 0:
        raise UnknownError("unknown article: this id is not in the model's catalogue")
    return row


def article(model: Recommender, row: int) -> Article:
    return Article(article_id=str(model.article_ids[row]), **model.catalogue.details(row))


def search(model: Recommender, words: str, limit: int) -> Articles:
    """Articles with every word; if there are none, the best answers to some, and then what is similar to the first."""
    catalogue, allowed = model.catalogue, None if model.in_stock is None else model.in_stock.mask
    rows = catalogue.search(words, limit, allowed).tolist()
    by_words = bool(rows)
    if not by_words:
        rows = catalogue.search_by_meaning(words, limit, allowed).tolist()
        if 0 < len(rows) < limit:
            close, _ = model.similar(rows[0], limit)
            rows = list(dict.fromkeys([*rows, *close.tolist()]))[:limit]
    articles = [article(model, row) for row in rows]
    return Articles(articles=articles, count=len(articles), match="words" if by_words else "meaning")


def similar(model: Recommender, article_id: str, top_k: int) -> SimilarArticles:
    """Raises UnknownError, as :func:`article_row` does."""
    rows, cosines = model.similar(article_row(model, article_id), top_k)
    articles = [
        SimilarArticle(article_id=str(model.article_ids[row]), cosine=cosine, **model.catalogue.details(row))
        for row, cosine in zip(rows.tolist(), cosines.tolist(), strict=True)
    ]
    return SimilarArticles(article_id=article_id, similar=articles, count=len(articles))


def customer(model: Recommender, customer_id: str) -> Customer:
    """A customer's attributes and latest purchases.

    Raises:
        UnknownError: the model does not have this id.
    """
    row = int(model.customer_rows([customer_id])[0])
    if row < 0:
        raise UnknownError("unknown customer: the model does not have this id")
    log = model.log
    entries = range(int(log.offsets[row]), int(log.offsets[row + 1]))
    purchases = [
        Purchase(
            article_id=str(model.article_ids[log.article[entry]]),
            date=log.date(int(log.day[entry])),
            days_ago=model.as_of - int(log.day[entry]),
            price=None if np.isnan(log.price[entry]) else float(log.price[entry]),
            details=ArticleDetails(**model.catalogue.details(int(log.article[entry]))),
        )
        for entry in reversed(entries[-MAX_PURCHASES:])
    ]
    attributes = model.customer_details(row)
    return Customer(customer_id=customer_id, attributes=attributes, purchases=purchases, count=len(entries))
