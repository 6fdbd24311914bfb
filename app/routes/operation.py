"""The endpoints for whoever runs the service: is it alive, is it ready, how does it do, and take the new model now."""

from __future__ import annotations

import asyncio
from typing import Literal

from fastapi import APIRouter, HTTPException, Request, Response, status
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel, Field

from app.middleware.metrics import Metrics
from app.routes.recommend import UNAVAILABLE
from app.schemas import Health, Problem, Ready
from app.serving.model import RecommenderDep, data_until
from app.serving.reload import Reloader

router = APIRouter(tags=["operation"])


class Reloaded(BaseModel):
    """What came of a look for a new model."""

    result: Literal["loaded", "unchanged"] = Field(examples=["loaded"])
    version: str = Field(description="served from now on", examples=["20260120T101530.123456Z-1f2e3d4c"])


@router.get("/health")
async def health() -> Health:
    """The process is alive, with or without a model."""
    return Health()


@router.get("/ready", responses=UNAVAILABLE, response_model_exclude_none=True)
async def ready(model: RecommenderDep) -> Ready:
    """A model is served, and which version; 503 and the reason while there is none, or its store does not answer."""
    if model.is_remote:
        await asyncio.to_thread(model.probe)
    return Ready(version=model.version, data_until=data_until(model))


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
async def metrics(request: Request) -> Response:
    """Counters and timings, for Prometheus."""
    counted: Metrics = request.app.state.metrics
    return Response(counted.text(), media_type=CONTENT_TYPE_LATEST)


@router.post(
    "/admin/reload",
    responses={
        status.HTTP_401_UNAUTHORIZED: {"model": Problem, "description": "No X-API-Key, or a wrong one"},
        status.HTTP_403_FORBIDDEN: {"model": Problem, "description": "The service has no key, so nobody may"},
        status.HTTP_409_CONFLICT: {"model": Problem, "description": "Refused; what was served goes on being served"},
    },
)
async def reload(request: Request) -> Reloaded:
    """Take the newly published model now, not at the next look. Answers when it is served, or refused."""
    reloader: Reloader = request.app.state.reloader
    outcome = await reloader.reload()
    if outcome.result == "refused" or outcome.version is None:
        raise HTTPException(status.HTTP_409_CONFLICT, outcome.problem)
    return Reloaded(result=outcome.result, version=outcome.version)
