"""Endpoints for the operator: health, readiness, metrics, and reloading the model."""

from __future__ import annotations

import asyncio
from typing import Literal

from fastapi import APIRouter, HTTPException, Request, Response, status
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel, Field

from app.middleware.metrics import Metrics
from app.routes.responses import UNAUTHORIZED, UNAVAILABLE
from app.schemas import Health, Problem, Ready
from app.serving.model import RecommenderDep, data_until
from app.serving.reload import Reloader

router = APIRouter(tags=["operation"])


class Reloaded(BaseModel):
    """The result of a reload."""

    result: Literal["loaded", "unchanged"] = Field(examples=["loaded"])
    version: str = Field(description="the version served now", examples=["20260120T101530.123456Z-1f2e3d4c"])


@router.get("/live", include_in_schema=False)
@router.get("/health")
async def health() -> Health:
    """The process is alive, with or without a model. ``/live`` is Kubernetes' name for it."""
    return Health()


@router.get("/ready", responses=UNAVAILABLE, response_model_exclude_none=True)
async def ready(model: RecommenderDep) -> Ready:
    """The served model's version; 503 and the reason while there is none, or if its vector store does not answer."""
    if model.is_remote:
        await asyncio.to_thread(model.probe)
    return Ready(version=model.version, data_until=data_until(model))


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
async def metrics(request: Request) -> Response:
    """Counters and timings for Prometheus."""
    current: Metrics = request.app.state.metrics
    return Response(current.text(), media_type=CONTENT_TYPE_LATEST)


@router.post(
    "/admin/reload",
    responses=UNAUTHORIZED
    | {
        status.HTTP_403_FORBIDDEN: {"model": Problem, "description": "The service has no key, so reloads are disabled"},
        status.HTTP_409_CONFLICT: {"model": Problem, "description": "The new model was refused; the old one is served"},
    },
)
async def reload(request: Request) -> Reloaded:
    """Load the published model now, without waiting for the next poll. Answers when it is served or refused."""
    reloader: Reloader = request.app.state.reloader
    outcome = await reloader.reload()
    if outcome.result == "refused" or outcome.version is None:
        raise HTTPException(status.HTTP_409_CONFLICT, outcome.problem)
    return Reloaded(result=outcome.result, version=outcome.version)
