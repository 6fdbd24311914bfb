"""The service that `benchmarks.serving` compares with: correct, and built as such demos usually are.

A handler of a thread pool looks the customer up in a DataFrame, their purchases by another look-up, encodes them with
torch, searches the same ScaNN index, and turns rows into ids by a dictionary.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import uvicorn
from fastapi import FastAPI, HTTPException

from app.schemas import Recommendation, RecommendRequest, RecommendResponse
from hm_utils.model.scoring import best, relatives
from hm_utils.serving.recommender import Recommender

folder = Path(os.environ.get("HM_MODEL", "artifacts/model"))


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    torch.set_num_threads(1)
    model = Recommender.load(folder)
    app.state.model = model
    app.state.customers = pd.DataFrame({"customer_id": model.customer_ids.astype("U64")})
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
    user = model.customers(np.array([found.index[0]]))
    queries, related = model.encoded_queries(user), relatives(user.histories, model._variants)
    wanted = request.top_k + len(request.exclude_items)
    articles, scores = best(
        model._index.search, model._index.vectors, model._times, queries, related, model.scoring, wanted
    )
    rows = (
        dict(zip(model.article_ids.tolist(), range(len(model.article_ids)), strict=True))
        if request.exclude_items
        else {}
    )
    excluded = {rows[article] for article in request.exclude_items if article in rows}
    listed = [
        (article, score)
        for article, score in zip(articles[0].tolist(), scores[0].tolist(), strict=True)
        if article >= 0 and article not in excluded
    ][: request.top_k]
    recommendations = [
        Recommendation(article_id=str(model.article_ids[article]), score=score, rank=rank)
        for rank, (article, score) in enumerate(listed, start=1)
    ]
    return RecommendResponse(
        customer_id=request.customer_id, recommendations=recommendations, count=len(recommendations)
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=8001)
    uvicorn.run(app, port=parser.parse_args().port, log_level="warning", access_log=False)
