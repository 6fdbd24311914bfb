"""The model's articles and customers."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request

from app.middleware.worker_pool import in_pool
from app.routes.id_form import ARTICLE, CUSTOMER, check_form
from app.routes.responses import INVALID, UNAVAILABLE, not_found
from app.schemas import (
    MAX_TOP_K,
    Article,
    ArticleInPath,
    Articles,
    Customer,
    CustomerId,
    FilterValues,
    SimilarArticles,
)
from app.serving import answers
from app.serving.model import RecommenderDep
from hm_utils.serving.catalogue import FILTERS

router = APIRouter(tags=["catalogue"])

Limit = Annotated[int, Query(ge=1, le=MAX_TOP_K, description="maximum number of articles", examples=[10])]


@router.get("/articles", responses=INVALID | UNAVAILABLE)
async def find_articles(
    request: Request,
    model: RecommenderDep,
    q: Annotated[
        str, Query(min_length=1, max_length=100, description="words, or beginnings of words", examples=["black dre"])
    ],
    limit: Limit = 20,
) -> Articles:
    """The best-selling articles that have every word in their name, type, colour, department, section or id.

    If no article has, those that answer some of the words by their meaning, descriptions included.
    """
    return await in_pool(request, answers.search, model, q, limit)


# An id may have slashes. The longer path comes first, as the first that fits is taken.
@router.get("/articles/{article_id:path}/similar", responses=INVALID | not_found("article") | UNAVAILABLE)
async def similar_articles(
    request: Request, article_id: ArticleInPath, model: RecommenderDep, top_k: Limit = 10
) -> SimilarArticles:
    """The articles with the closest embeddings: bought by the same people, whatever their names."""
    check_form(model, ARTICLE, [(("path", "article_id"), article_id)])
    return await in_pool(request, answers.similar, model, article_id, top_k)


@router.get("/articles/{article_id:path}", responses=INVALID | not_found("article") | UNAVAILABLE)
async def get_article(article_id: ArticleInPath, model: RecommenderDep) -> Article:
    """An article's entry in the catalogue."""
    check_form(model, ARTICLE, [(("path", "article_id"), article_id)])
    return answers.article(model, answers.article_row(model, article_id))


@router.get("/customers/{customer_id:path}", responses=INVALID | not_found("customer") | UNAVAILABLE)
async def get_customer(
    request: Request,
    customer_id: Annotated[CustomerId, Path(description="as in the data")],
    model: RecommenderDep,
) -> Customer:
    """A customer's attributes and latest purchases."""
    check_form(model, CUSTOMER, [(("path", "customer_id"), customer_id)])
    return await in_pool(request, answers.customer, model, customer_id)


@router.get("/filters", responses=UNAVAILABLE)
async def get_filters(model: RecommenderDep) -> FilterValues:
    """The values that the filters of a recommendation accept."""
    return FilterValues(filters={name: model.catalogue.values(name) for name in FILTERS})
