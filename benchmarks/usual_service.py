"""The service that `benchmarks.serving` compares with: correct, and built as such demos usually are.

A handler in a thread pool finds the customer in a DataFrame, encodes them with torch, searches the same ScaNN index,
and builds a dictionary of the catalogue to exclude articles.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import uvicorn
from fastapi import FastAPI, HTTPException

from app.schemas import Recommendation, RecommendRequest, RecommendResponse
from hm_utils.serving.recommender import Recommender

folder = Path(os.environ.get("HM_MODEL", "artifacts/model"))


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    torch.set_num_threads(1)
    app.state.model = Recommender.load(folder)
    app.state.customers = pd.DataFrame({"customer_id": app.state.model.customer_ids.astype("U64")})
    yield


app = FastAPI(lifespan=lifespan)


@app.get("/ready")
def ready() -> dict[str, str]:
    return {"status": "ready"}


@app.post("/recommend")
def recommend(request: RecommendRequest) -> RecommendResponse:
    model: Recommender = app.state.model
    customers: pd.DataFrame = app.state.customers
    found = customers[customers["customer_id"] == request.customer_id]
    if found.empty:
        raise HTTPException(404, "unknown customer")
    # Without their rows the stored vectors cannot be read, so the user tower runs.
    user = replace(model.customers(np.array([found.index[0]])), rows=None)
    articles, scores = model.recommend(user, request.top_k + len(request.exclude_items))
    ids = model.article_ids
    rows = dict(zip(ids.tolist(), range(len(ids)), strict=True)) if request.exclude_items else {}
    excluded = {rows[article] for article in request.exclude_items if article in rows}
    ranked = [pair for pair in zip(articles[0].tolist(), scores[0].tolist(), strict=True) if pair[0] >= 0]
    kept = [pair for pair in ranked if pair[0] not in excluded][: request.top_k]
    recommendations = [
        Recommendation(article_id=str(ids[article]), score=score, rank=rank)
        for rank, (article, score) in enumerate(kept, start=1)
    ]
    return RecommendResponse(
        customer_id=request.customer_id, recommendations=recommendations, count=len(recommendations)
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=8001)
    uvicorn.run(app, port=parser.parse_args().port, log_level="warning", access_log=False)
