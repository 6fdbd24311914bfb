"""Answers to valid requests, computed with the model. Independent of HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from app.schemas import (
    MAX_TOP_K,
    Article,
    ArticleDetails,
    Articles,
    BatchRequest,
    BatchResponse,
    Customer,
    Purchase,
    Recommendation,
    RecommendRequest,
    RecommendResponse,
    SimilarArticle,
    SimilarArticles,
)
from hm_utils.arrays import Float32, Int32

if TYPE_CHECKING:
    from hm_utils.serving.recommender import Recommender
    from hm_utils.serving.user_context import UserContext

MAX_PURCHASES = 200  # of one customer in an answer

# Candidates for a diversified ranking: this multiple of top_k, and at least the minimum.
CANDIDATES, MIN_CANDIDATES = 3, 60


class UnknownError(LookupError):
    """The model does not know the requested customer or article."""


def is_slow(request: RecommendRequest) -> bool:
    """Whether the answer takes milliseconds, so that other requests must not wait for it."""
    return bool(
        request.filters
        or request.diversity
        or request.exclude_purchased
        or request.include
        or len(request.exclude_items) > 50
    )


def is_batchable(request: RecommendRequest) -> bool:
    """Whether it asks for a short ranking of a known customer, without new information about them."""
    no_more = request.model_fields_set <= {"customer_id", "top_k", "exclude_items"}
    return request.customer_id is not None and no_more and ranking_depth(request) <= MAX_TOP_K


def ranking_depth(request: RecommendRequest) -> int:
    """The length of a ranking that still has ``top_k`` articles without the excluded ones."""
    return request.top_k + len(request.exclude_items)


def from_ranking(model: Recommender, request: RecommendRequest, articles: Int32, scores: Float32) -> RecommendResponse:
    """The answer to a batchable request, from the customer's ranking of length :func:`ranking_depth`."""
    kept = articles >= 0
    if request.exclude_items:
        kept &= ~np.isin(articles, model.catalogue.rows(request.exclude_items))
    return response(model, articles[kept][: request.top_k], scores[kept][: request.top_k], request.customer_id)


def recommend(model: Recommender, request: RecommendRequest) -> RecommendResponse:
    """The answer to any request.

    Raises:
        UnknownError: the customer is unknown, and the request has neither history nor attributes.
    """
    row = customer_row(model, request)
    user, excluded = user_context(model, request, row)
    if request.exclude_items:
        excluded += [article for article in model.catalogue.rows(request.exclude_items).tolist() if article >= 0]
    if request.exclude_purchased and row is not None:
        excluded += model.log.article[model.log.offsets[row] : model.log.offsets[row + 1]].tolist()
    allowed = None
    if request.filters is not None:
        values = request.filters.model_dump(exclude_none=True, exclude={"price"})
        price = request.filters.price
        allowed = model.catalogue.matching(values, *(() if price is None else (price.min, price.max)))
    depth = max(CANDIDATES * request.top_k, MIN_CANDIDATES) if request.diversity else request.top_k
    rankings, their_scores = model.recommend(user, depth, np.unique(np.array(excluded, dtype=np.int32)), allowed)
    found = rankings[0] >= 0
    articles, scores = rankings[0][found], their_scores[0][found]
    if request.diversity:
        articles, scores = model.diversify(articles, scores, request.diversity, request.top_k)
    answer = response(model, articles, scores, request.customer_id)
    if "details" in request.include:
        for item, article in zip(answer.recommendations, articles.tolist(), strict=True):
            item.details = ArticleDetails(**model.catalogue.details(article))
    if "reasons" in request.include:
        for item, reasons in zip(answer.recommendations, model.reasons(user, articles), strict=True):
            item.reasons = model.article_ids[reasons].tolist()
    return answer


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


def user_context(model: Recommender, request: RecommendRequest, row: int | None) -> tuple[UserContext, list[int]]:
    """The user's context, and the article rows of the current visit."""
    if row is not None and not request.history and request.customer is None:
        return model.customers(np.array([row])), []
    entries = [
        (entry, 0) if isinstance(entry, str) else (entry.article_id, entry.days_ago) for entry in request.history or []
    ]
    rows = model.catalogue.rows([article_id for article_id, _ in entries]).tolist()
    known = [(article, days) for article, (_, days) in zip(rows, entries, strict=True) if article >= 0]
    attributes = None if request.customer is None else request.customer.model_dump()
    user = model.visitor(row, attributes, [article for article, _ in known], [days for _, days in known])
    return user, [article for article, days in known if days == 0]


def response(model: Recommender, articles: Int32, scores: Float32, customer_id: str | None) -> RecommendResponse:
    """A ranking of article rows, best first, as an answer."""
    items = [
        Recommendation(article_id=article_id, score=score, rank=rank)
        for rank, (article_id, score) in enumerate(
            zip(model.article_ids[articles].tolist(), scores.tolist(), strict=True), start=1
        )
    ]
    return RecommendResponse(customer_id=customer_id, recommendations=items, count=len(items))


def recommend_batch(model: Recommender, request: BatchRequest) -> BatchResponse:
    rows = model.customer_rows(request.customer_ids)
    known = [customer for customer, row in zip(request.customer_ids, rows, strict=True) if row >= 0]
    unknown = [customer for customer, row in zip(request.customer_ids, rows, strict=True) if row < 0]
    rankings, their_scores = model.recommend(model.customers(rows[rows >= 0]), request.top_k)
    results = [
        response(model, articles[articles >= 0], scores[articles >= 0], customer)
        for customer, articles, scores in zip(known, rankings, their_scores, strict=True)
    ]
    return BatchResponse(results=results, count=len(results), unknown=unknown)


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
    articles = [article(model, row) for row in model.catalogue.search(words, limit).tolist()]
    return Articles(articles=articles, count=len(articles))


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
            price=float(log.price[entry]),
            details=ArticleDetails(**model.catalogue.details(int(log.article[entry]))),
        )
        for entry in reversed(entries[-MAX_PURCHASES:])
    ]
    attributes = model.customer_details(row)
    return Customer(customer_id=customer_id, attributes=attributes, purchases=purchases, count=len(entries))
