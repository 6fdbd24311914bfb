"""The endpoints. Handlers are ``async``: a recommendation takes less time than handing it to a thread."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, HTTPException, status
from fastapi.responses import RedirectResponse

from app.schemas import InvalidRequest, Problem, Recommendation, RecommendRequest, RecommendResponse
from app.serving import RecommenderDep

router = APIRouter()

UNAVAILABLE: dict[int | str, dict[str, Any]] = {
    status.HTTP_503_SERVICE_UNAVAILABLE: {"model": Problem, "description": "No model is loaded"}
}
REFUSED: dict[int | str, dict[str, Any]] = {
    status.HTTP_400_BAD_REQUEST: {"model": Problem, "description": "A body that no JSON reader can decode"},
    status.HTTP_404_NOT_FOUND: {"model": Problem, "description": "Unknown customer"},
    status.HTTP_413_CONTENT_TOO_LARGE: {"description": "Body too large", "content": {"text/plain": {}}},
    status.HTTP_422_UNPROCESSABLE_CONTENT: {"model": InvalidRequest, "description": "Invalid request"},
}


@router.post("/recommend", responses=REFUSED | UNAVAILABLE, tags=["recommendations"])
async def recommend(request: RecommendRequest, model: RecommenderDep) -> RecommendResponse:
    """The articles that this customer is most likely to buy next, best first."""
    rows = model.customer_rows([request.customer_id])
    if rows[0] < 0:
        raise HTTPException(status.HTTP_404_NOT_FOUND, "unknown customer: this id is not among the model's customers")
    articles, scores = model.recommend(rows, request.top_k, request.exclude_items)
    found = articles[0] >= 0
    recommendations = [
        Recommendation(article_id=str(article_id), score=score, rank=rank)
        for rank, (article_id, score) in enumerate(
            zip(model.article_ids[articles[0][found]], scores[0][found].tolist(), strict=True), start=1
        )
    ]
    return RecommendResponse(
        customer_id=request.customer_id, recommendations=recommendations, count=len(recommendations)
    )


@router.get("/", include_in_schema=False)
async def root() -> RedirectResponse:
    """The documentation of the endpoints."""
    return RedirectResponse("/docs")
