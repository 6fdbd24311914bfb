"""The endpoints. A recommendation takes less time than handing it to a thread; what takes longer is handed over."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response, status

from app.middleware.worker_pool import in_pool
from app.schemas import (
    MAX_TOP_K,
    Article,
    ArticleId,
    Articles,
    BatchRequest,
    BatchResponse,
    Customer,
    CustomerId,
    FilterValues,
    InvalidRequest,
    Problem,
    RecommendRequest,
    RecommendResponse,
    SimilarArticles,
)
from app.serving import answers
from app.serving.model import RecommenderDep
from hm_utils.serving.catalogue import FILTERS

router = APIRouter()

UNAVAILABLE: dict[int | str, dict[str, Any]] = {
    status.HTTP_503_SERVICE_UNAVAILABLE: {"model": Problem, "description": "No model is loaded"}
}
INVALID: dict[int | str, dict[str, Any]] = {
    status.HTTP_422_UNPROCESSABLE_CONTENT: {"model": InvalidRequest, "description": "Invalid request"}
}
BAD_BODY: dict[int | str, dict[str, Any]] = INVALID | {
    status.HTTP_400_BAD_REQUEST: {"model": Problem, "description": "A body that no JSON reader can decode"},
    status.HTTP_413_CONTENT_TOO_LARGE: {"description": "Body too large", "content": {"text/plain": {}}},
}


def not_found(what: str) -> dict[int | str, dict[str, Any]]:
    return {status.HTTP_404_NOT_FOUND: {"model": Problem, "description": f"Unknown {what}"}}


ArticleInPath = Annotated[ArticleId, Path(description="10 digits", examples=["0108775015"])]
Limit = Annotated[int, Query(ge=1, le=MAX_TOP_K, description="how many at most", examples=[10])]


@router.post(
    "/recommend",
    responses=BAD_BODY | not_found("customer") | UNAVAILABLE,
    response_model=RecommendResponse,
    tags=["recommendations"],
)
async def recommend(request: Request, body: RecommendRequest, model: RecommenderDep) -> Response:
    """The articles that somebody is most likely to buy next, best first."""
    if answers.is_plain(body) and not model.is_remote:
        row = answers.customer_row(model, body)
        assert row is not None
        found = await request.app.state.together.recommend(model, row, answers.depth_of(body))
        answer = answers.plain(model, body, *found)
    elif answers.is_slow(body) or model.is_remote:
        answer = await in_pool(request, answers.recommendations, model, body)
    else:
        # It holds the event loop from its first line to its last, so requests would only ever be counted one by one:
        # let all that have arrived come in first, and those above the limit go.
        await asyncio.sleep(0)
        answer = answers.recommendations(model, body)
    # Not handed to FastAPI, which would check again what the code above has just made.
    return Response(answer.model_dump_json(exclude_unset=True), media_type="application/json")


@router.post(
    "/recommend/batch", response_model=BatchResponse, responses=BAD_BODY | UNAVAILABLE, tags=["recommendations"]
)
async def recommend_batch(request: Request, body: BatchRequest, model: RecommenderDep) -> Response:
    """The same lists for many customers at once."""

    def answer() -> bytes:
        return answers.batch(model, body).model_dump_json(exclude_unset=True).encode()

    return Response(await in_pool(request, answer), media_type="application/json")


@router.get("/articles", responses=INVALID | UNAVAILABLE, tags=["catalogue"])
async def find_articles(
    request: Request,
    model: RecommenderDep,
    q: Annotated[
        str, Query(min_length=1, max_length=100, description="words, or their beginnings", examples=["black dre"])
    ],
    limit: Limit = 20,
) -> Articles:
    """The best-selling articles in whose name, type, colour, department or section every word is."""
    return await in_pool(request, answers.found_by, model, q, limit)


@router.get("/articles/{article_id}", responses=INVALID | not_found("article") | UNAVAILABLE, tags=["catalogue"])
async def get_article(article_id: ArticleInPath, model: RecommenderDep) -> Article:
    """What the catalogue says of an article."""
    return answers.article(model, answers.article_row(model, article_id))


@router.get(
    "/articles/{article_id}/similar", responses=INVALID | not_found("article") | UNAVAILABLE, tags=["catalogue"]
)
async def similar_articles(
    request: Request, article_id: ArticleInPath, model: RecommenderDep, top_k: Limit = 10
) -> SimilarArticles:
    """The articles of the closest taste: what goes to the same people, whatever its name."""
    found = await in_pool(request, answers.similar, model, article_id, top_k)
    return SimilarArticles(article_id=article_id, similar=found, count=len(found))


@router.get("/customers/{customer_id}", responses=INVALID | not_found("customer") | UNAVAILABLE, tags=["catalogue"])
async def get_customer(
    request: Request,
    customer_id: Annotated[CustomerId, Path(description="64 lower-case hexadecimal digits")],
    model: RecommenderDep,
) -> Customer:
    """A customer's attributes and latest purchases."""
    return await in_pool(request, answers.customer, model, customer_id)


@router.get("/filters", responses=UNAVAILABLE, tags=["catalogue"])
async def get_filters(model: RecommenderDep) -> FilterValues:
    """The values that the filters of a recommendation can have."""
    return FilterValues(filters={name: model.catalogue.values(name) for name in FILTERS})
