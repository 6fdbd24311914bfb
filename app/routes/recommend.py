"""Recommendations.

Known customers are answered in the event loop, as a batch takes less time than handing it to a thread. Visitors, whose
vectors are computed, have a thread of their own. All other work goes to the worker pool."""

from __future__ import annotations

from functools import partial

from fastapi import APIRouter, Request, Response

from app.middleware.worker_pool import BatchLane, PoolFull, in_pool, refusal
from app.routes.id_form import CUSTOMER, check_form, check_request
from app.routes.responses import INVALID_BODY, UNAVAILABLE, not_found
from app.schemas import BatchRequest, BatchResponse, RecommendRequest, RecommendResponse
from app.serving import answers
from app.serving.model import RecommenderDep
from app.serving.request_batching import MAX_BATCH_SIZE

router = APIRouter(tags=["recommendations"])

CLIENT_CLOSED_REQUEST = 499  # nginx's code, for the log


@router.post(
    "/recommend",
    responses=INVALID_BODY | not_found("customer") | UNAVAILABLE,
    response_model=RecommendResponse,
)
async def recommend(request: Request, body: RecommendRequest, model: RecommenderDep) -> Response:
    """The articles that a customer is most likely to buy next, best first."""
    check_request(model, body)
    if answers.is_batchable(body) and not model.is_remote:
        row, state, depth = answers.customer_row(model, body), request.app.state, answers.ranking_depth(body)
        if answers.is_as_known(body, row):
            ranking = await state.customers.recommend(model, row, depth)
        else:
            ranking = await state.visitors.recommend(model, partial(answers.user_context, model, body, row), depth)
        content = answers.from_ranking(model, body, *ranking)
    else:
        content = await in_pool(request, answers.recommend, model, body)
    # A Response, because FastAPI would validate a returned model again.
    return Response(content, media_type="application/json")


@router.post("/recommend/batch", response_model=BatchResponse, responses=INVALID_BODY | UNAVAILABLE)
async def recommend_batch(request: Request, body: BatchRequest, model: RecommenderDep) -> Response:
    """The same recommendations, for many customers at once."""
    check_form(model, CUSTOMER, [(("body", "customer_ids", i), text) for i, text in enumerate(body.customer_ids)])
    lane: BatchLane = request.app.state.batches
    try:
        with lane.entered(answers.batch_cost(body)):
            parts = []
            for ids in batched(body.customer_ids, MAX_BATCH_SIZE):
                parts.append(await lane.run(answers.batch_part, model, ids, body.top_k))
                if await request.is_disconnected():
                    return Response(status_code=CLIENT_CLOSED_REQUEST)  # nobody reads it
    except PoolFull:
        raise refusal(request) from None
    return Response(answers.whole_batch(parts), media_type="application/json")


def batched(ids: list[str], size: int) -> list[list[str]]:
    return [ids[start : start + size] for start in range(0, len(ids), size)]
