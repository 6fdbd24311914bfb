"""From a valid request to its answer, by asking the model; nothing here knows of HTTP."""

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
    Filters,
    PriceRange,
    Purchase,
    Recommendation,
    RecommendRequest,
    RecommendResponse,
    SimilarArticle,
)
from hm_utils.arrays import Float32, Int32

if TYPE_CHECKING:
    from hm_utils.serving.recommender import Recommender
    from hm_utils.serving.user_context import UserContext

MAX_PURCHASES = 200  # of a customer that are shown

# Of a list with diversity, the candidates: so many times its length, and at least so many.
CANDIDATES, FEWEST_CANDIDATES = 3, 60


class UnknownError(LookupError):
    """The model does not know the customer or article that was asked for."""


def is_slow(request: RecommendRequest) -> bool:
    """Whether the answer takes milliseconds: other requests must not wait for it."""
    return bool(
        request.filters
        or request.diversity
        or request.exclude_purchased
        or request.include
        or len(request.exclude_items) > 50
    )


def is_plain(request: RecommendRequest) -> bool:
    """Whether it asks for a customer of the model as the model knows them, and for no more than a short list."""
    only_these = request.model_fields_set <= {"customer_id", "top_k", "exclude_items"}
    return request.customer_id is not None and only_these and depth_of(request) <= MAX_TOP_K


def depth_of(request: RecommendRequest) -> int:
    """So long is the list that still has ``top_k`` articles when those to leave out are gone."""
    return request.top_k + len(request.exclude_items)


def plain(model: Recommender, request: RecommendRequest, found: Int32, scores: Float32) -> RecommendResponse:
    """The answer to a plain request, from a list of its depth."""
    kept = found >= 0
    if request.exclude_items:
        kept &= ~np.isin(found, model.catalogue.rows(request.exclude_items))
    return listed(model, found[kept][: request.top_k], scores[kept][: request.top_k], request.customer_id)


def recommendations(model: Recommender, request: RecommendRequest) -> RecommendResponse:
    """Raises UnknownError if the model knows no such customer and nothing else is told of them."""
    row = customer_row(model, request)
    user, visited = user_context_of(model, request, row)
    excluded = visited
    if request.exclude_items:
        excluded += [row for row in model.catalogue.rows(request.exclude_items).tolist() if row >= 0]
    if request.exclude_purchased and row is not None:
        excluded += model.log.article[model.log.offsets[row] : model.log.offsets[row + 1]].tolist()
    allowed = None if request.filters is None else matching(model, request.filters)
    depth = max(CANDIDATES * request.top_k, FEWEST_CANDIDATES) if request.diversity else request.top_k
    found, scores = model.recommend(user, depth, np.unique(np.array(excluded, dtype=np.int32)), allowed)
    there = found[0] >= 0
    articles, lifted = found[0][there], scores[0][there]
    if request.diversity:
        articles, lifted = model.diversify(articles, lifted, request.diversity, request.top_k)
    answer = listed(model, articles, lifted, request.customer_id)
    if "details" in request.include:
        for item, article in zip(answer.recommendations, articles.tolist(), strict=True):
            item.details = ArticleDetails(**model.catalogue.details(article))
    if "reasons" in request.include:
        for item, reasons in zip(answer.recommendations, model.reasons(user, articles), strict=True):
            item.reasons = model.article_ids[reasons].tolist()
    return answer


def customer_row(model: Recommender, request: RecommendRequest) -> int | None:
    """Of the customer asked for; None for somebody of whom the request tells everything."""
    if request.customer_id is None:
        return None
    row = int(model.customer_rows([request.customer_id])[0])
    if row >= 0:
        return row
    if request.history is None and request.customer is None:
        raise UnknownError(
            "unknown customer: this id is not among the model's customers; send history or customer to tell who it is"
        )
    return None


def user_context_of(model: Recommender, request: RecommendRequest, row: int | None) -> tuple[UserContext, list[int]]:
    """Whom to recommend to, and the rows of the articles of the visit under way."""
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


def matching(model: Recommender, filters: Filters) -> Int32:
    """Rows of the articles that fit."""
    values = filters.model_dump(exclude_none=True, exclude={"price"})
    price = filters.price or PriceRange()
    lowest = None if filters.price is None else price.min
    return model.catalogue.matching(values, lowest, price.max)


def listed(model: Recommender, articles: Int32, scores: Float32, customer_id: str | None) -> RecommendResponse:
    found = [
        Recommendation(article_id=article_id, score=score, rank=rank)
        for rank, (article_id, score) in enumerate(
            zip(model.article_ids[articles].tolist(), scores.tolist(), strict=True), start=1
        )
    ]
    return RecommendResponse(customer_id=customer_id, recommendations=found, count=len(found))


def batch(model: Recommender, request: BatchRequest) -> BatchResponse:
    rows = model.customer_rows(request.customer_ids)
    known = [customer for customer, row in zip(request.customer_ids, rows, strict=True) if row >= 0]
    found, scores = model.recommend(model.customers(rows[rows >= 0]), request.top_k)
    results = [
        listed(model, articles[articles >= 0], those[articles >= 0], customer)
        for customer, articles, those in zip(known, found, scores, strict=True)
    ]
    unknown = [customer for customer, row in zip(request.customer_ids, rows, strict=True) if row < 0]
    return BatchResponse(results=results, count=len(results), unknown=unknown)


def article_row(model: Recommender, article_id: str) -> int:
    """Raises UnknownError."""
    row = int(model.catalogue.rows([article_id])[0])
    if row < 0:
        raise UnknownError("unknown article: this id is not in the model's catalogue")
    return row


def article(model: Recommender, row: int) -> Article:
    return Article(article_id=str(model.article_ids[row]), **model.catalogue.details(row))


def found_by(model: Recommender, words: str, limit: int) -> Articles:
    found = [article(model, row) for row in model.catalogue.search(words, limit).tolist()]
    return Articles(articles=found, count=len(found))


def similar(model: Recommender, article_id: str, top_k: int) -> list[SimilarArticle]:
    found, cosines = model.similar(article_row(model, article_id), top_k)
    return [
        SimilarArticle(article_id=str(model.article_ids[row]), cosine=cosine, **model.catalogue.details(row))
        for row, cosine in zip(found.tolist(), cosines.tolist(), strict=True)
    ]


def customer(model: Recommender, customer_id: str) -> Customer:
    """Raises UnknownError."""
    row = int(model.customer_rows([customer_id])[0])
    if row < 0:
        raise UnknownError("unknown customer: this id is not among the model's customers")
    log = model.log
    bought = range(int(log.offsets[row]), int(log.offsets[row + 1]))
    purchases = [
        Purchase(
            article_id=str(model.article_ids[log.article[place]]),
            date=str(log.first_date + np.timedelta64(int(log.day[place]), "D")),
            days_ago=model.as_of - int(log.day[place]),
            price=float(log.price[place]),
            details=ArticleDetails(**model.catalogue.details(int(log.article[place]))),
        )
        for place in reversed(bought[-MAX_PURCHASES:])
    ]
    return Customer(
        customer_id=customer_id,
        attributes=model.customer_details(row),
        purchases=purchases,
        count=len(bought),
    )
