"""Recommendations. A fast answer takes less time than handing it to a thread; slow ones go to the worker pool."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Request, Response

from app.middleware.worker_pool import in_pool
from app.routes.responses import INVALID_BODY, UNAVAILABLE, not_found
from app.schemas import BatchRequest, BatchResponse, RecommendRequest, RecommendResponse
from app.serving import answers
from app.serving.model import RecommenderDep

router = APIRouter(tags=["recommendations"])


@router.post(
    "/recommend",
    responses=INVALID_BODY | not_found("customer") | UNAVAILABLE,
    response_model=RecommendResponse,
)
async def recommend(request: Request, body: RecommendRequest, model: RecommenderDep) -> Response:
    """The articles that a customer is most likely to buy next, best first."""
    if answers.is_batchable(body) and not model.is_remote:
        row = answers.customer_row(model, body)
        assert row is not None
        ranking = await request.app.state.batcher.recommend(model, row, answers.ranking_depth(body))
        answer = answers.from_ranking(model, body, *ranking)
    elif answers.is_slow(body) or model.is_remote:
        answer = await in_pool(request, answers.recommend, model, body)
    else:
        # This blocks the event loop. Yield once first, so that pending requests are counted and those above the limit
        # are rejected.
        await asyncio.sleep(0)
        answer = answers.recommend(model, body)
    # A Response, because FastAPI would validate a returned model again.
    return Response(answer.model_dump_json(exclude_unset=True), media_type="application/json")


@router.post("/recommend/batch", response_model=BatchResponse, responses=INVALID_BODY | UNAVAILABLE)
async def recommend_batch(request: Request, body: BatchRequest, model: RecommenderDep) -> Response:
    """The same recommendations, for many customers at once."""

    def answer() -> bytes:
        return answers.recommend_batch(model, body).model_dump_json(exclude_unset=True).encode()

    return Response(await in_pool(request, answer), media_type="application/json")
