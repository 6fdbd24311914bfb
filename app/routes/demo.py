"""Endpoints for the demo page: the model's metrics, customers to try, the replay, the map and the photos."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from fastapi import APIRouter, HTTPException, Path, Query, Request, Response, status

from app.middleware.worker_pool import in_pool
from app.routes.id_form import CUSTOMER_START, check_form
from app.routes.responses import INVALID, UNAVAILABLE, Responses, not_found
from app.schemas import Article, ArticleInPath
from app.schemas_demo import (
    MAX_CUSTOMERS,
    Counts,
    Customers,
    CustomerSummary,
    EarlierPurchase,
    Figure,
    IdPrefix,
    Model,
    Replay,
    ReplayedArticle,
    ReplayedCustomer,
    ReplayedRanking,
    ReplayOutcome,
    StockSummary,
    Verdict,
)
from app.serving import answers
from app.serving.answers import UnknownError
from app.serving.model import RecommenderDep, published_at
from hm_utils.data.origin import data_line
from hm_utils.data.segments import Segment

if TYPE_CHECKING:
    from hm_utils.serving.recommender import Recommender

router = APIRouter(tags=["demo"])

SHOWN_METRICS = ("MAP@12", "recall@12", "recall@100", "hit rate@12", "coverage@12")
MAX_PHOTO = 16 * 2**20  # bytes
FILE_NAME = re.compile(r"[0-9A-Za-z_-]+")  # cannot lead out of a folder
MAP: Responses = {
    status.HTTP_200_OK: {"content": {"application/octet-stream": {}}},
    status.HTTP_304_NOT_MODIFIED: {"description": "The client's copy is current"},
}
CARD: Responses = {status.HTTP_200_OK: {"content": {"text/markdown": {}}}}
PHOTO: Responses = {status.HTTP_200_OK: {"content": {"image/jpeg": {}}}}


@router.get("/model", responses=UNAVAILABLE)
async def get_model(request: Request, model: RecommenderDep) -> Model:
    """The served model: version, age, data, and the metrics of its evaluation."""
    metrics = model.manifest.get("metrics", {})
    test, decision = metrics.get("held_out_test", {}), metrics.get("decision")
    published = published_at(model.version)
    log, origin = model.log, model.manifest.get("data", {}).get("origin")
    return Model(
        version=model.version,
        published=None if published is None else published.isoformat(timespec="seconds"),
        data_from=log.date(0),
        data_until=log.date(log.last_day),
        trained_on=data_line(origin, model.n_customers, len(model.article_ids), log.last_day + 1),
        counts=Counts(articles=len(model.article_ids), customers=model.n_customers, purchases=len(log)),
        stock=stock_summary(model),
        tested_customers=test.get("customers"),
        metrics={
            ranking: {name: Figure(**figures[name]) for name in SHOWN_METRICS if name in figures}
            for ranking, figures in test.get("rankings", {}).items()
        },
        verdict=decision and Verdict(**{name: decision[name] for name in Verdict.model_fields}),
        hm_ids=model.hm_ids,
        replay=model.replay is not None,
        map=model.packed_map is not None,
        images=request.app.state.images is not None,
    )


def stock_summary(model: Recommender) -> StockSummary | None:
    found = model.in_stock
    if found is None:
        return None
    since = found.stock.since.isoformat(timespec="seconds")
    return StockSummary(articles=len(found.rows), unknown=found.unknown, since=since)


@router.get("/model/card", response_class=Response, responses=CARD | not_found("card") | UNAVAILABLE)
async def get_card(model: RecommenderDep) -> Response:
    """The model card in Markdown: purpose, data, quality, for whom, limits."""
    if model.card is None:
        raise HTTPException(status.HTTP_404_NOT_FOUND, "this model was published without a card")
    return Response(model.card, media_type="text/markdown; charset=utf-8")


@router.get("/customers", responses=INVALID | UNAVAILABLE)
async def find_customers(
    request: Request,
    model: RecommenderDep,
    prefix: Annotated[IdPrefix | None, Query(description="beginning of the id", examples=["00000d"])] = None,
    segment: Annotated[
        Segment, Query(description="without a prefix: draw random customers of this segment", examples=["frequent"])
    ] = "any",
    limit: Annotated[int, Query(ge=1, le=MAX_CUSTOMERS, description="maximum number of customers", examples=[1])] = 8,
) -> Customers:
    """The first customers whose id begins with the prefix, or a new random draw from a segment.

    `frequent`: bought in the last 30 days, and more than 90 % of buyers. `dormant`: bought, but not in the last 30
    days. `young`: below 25 years, and bought. `never_bought`: no purchase.
    """
    if prefix is not None:
        check_form(model, CUSTOMER_START, [(("query", "prefix"), prefix)])
    return await in_pool(request, customer_summaries, model, prefix, segment, limit)


def customer_summaries(model: Recommender, prefix: str | None, segment: Segment, limit: int) -> Customers:
    if prefix is not None:
        rows = model.customers_beginning(prefix, limit)
    else:
        members = model.segments[segment]
        rows = np.random.default_rng().choice(members, min(limit, len(members)), replace=False)
    customers = [summary(model, row) for row in rows.tolist()]
    return Customers(customers=customers, count=len(customers))


def summary(model: Recommender, row: int) -> CustomerSummary:
    start, end = int(model.log.offsets[row]), int(model.log.offsets[row + 1])
    return CustomerSummary(
        customer_id=model.customer_ids[row].decode(),
        age=model.customer_details(row).get("age"),
        purchases=end - start,
        last_purchase=model.log.date(int(model.log.day[end - 1])) if end > start else None,
    )


@router.get("/replay", responses=not_found("replay") | UNAVAILABLE)
async def get_replay(model: RecommenderDep) -> Replay:
    """Customers of the evaluation: rankings made before the test days, compared with the purchases in those days.

    The served model was trained on the test days, so the rankings come from the evaluated model before that refit.
    """
    replay = stored_replay(model)
    customers = [ReplayOutcome(**replay_outcome(number, stored)) for number, stored in enumerate(replay["customers"])]
    return Replay(
        **{name: replay[name] for name in ("first_day", "last_day", "drawn_from", "rankings")},
        customers=customers,
        count=len(customers),
    )


@router.get("/replay/{number}", responses=INVALID | not_found("number") | UNAVAILABLE)
async def get_replayed_customer(
    request: Request,
    model: RecommenderDep,
    number: Annotated[int, Path(ge=0, le=9_999, description="as in GET /replay", examples=[0])],
) -> ReplayedCustomer:
    """One customer of the replay: earlier purchases, rankings, and purchases in the test days."""
    customers = stored_replay(model)["customers"]
    if number >= len(customers):
        raise UnknownError(f"unknown number: the replay has {len(customers)} customers")
    return await in_pool(request, replayed_customer, model, number, customers[number])


def stored_replay(model: Recommender) -> dict[str, Any]:
    if model.replay is None:
        raise UnknownError("this model was published without a replay")
    return model.replay


def replay_outcome(number: int, stored: dict[str, Any]) -> dict[str, Any]:
    bought = set(stored["bought"])
    return {
        "number": number,
        "customer_id": stored["customer_id"],
        "purchases_before": stored["purchases_before"],
        "bought": len(bought),
        "hits": {ranking: len(bought.intersection(ids)) for ranking, ids in stored["lists"].items()},
    }


def replayed_customer(model: Recommender, number: int, stored: dict[str, Any]) -> ReplayedCustomer:
    def article(article_id: str) -> Article:
        return answers.article(model, answers.article_row(model, article_id))

    bought, before = set(stored["bought"]), {purchase["article_id"] for purchase in stored["before"]}
    rankings = [
        ReplayedRanking(
            ranking=name,
            average_precision=stored["average_precision"][name],
            articles=[
                ReplayedArticle(rank=rank, hit=id in bought, bought_before=id in before, article=article(id))
                for rank, id in enumerate(ids, start=1)
            ],
        )
        for name, ids in stored["lists"].items()
    ]
    return ReplayedCustomer(
        **replay_outcome(number, stored),
        before=[
            EarlierPurchase(date=purchase["date"], article=article(purchase["article_id"]))
            for purchase in stored["before"]
        ],
        then_bought=[article(id) for id in stored["bought"]],
        lists=rankings,
    )


@router.get("/map", response_class=Response, responses=MAP | not_found("map") | UNAVAILABLE)
async def get_map(request: Request, model: RecommenderDep) -> Response:
    """Each article's position on a plane, where articles bought by the same people lie close together.

    Little-endian: uint32 n and uint32 length of the header; the header, JSON with `groups`; then n values each of
    uint32 article id without its last three digits, uint16 those three digits, uint16 x, uint16 y, uint8 index into
    `groups` (255: none). Ids that are not ten digits are a list `ids` of the header instead of the first two.
    """
    if model.packed_map is None:
        raise UnknownError("this model was published without a map")
    headers = {"ETag": f'"{model.version}"', "Cache-Control": "private, no-cache"}
    if request.headers.get("if-none-match") == headers["ETag"]:
        return Response(status_code=status.HTTP_304_NOT_MODIFIED, headers=headers)
    return Response(model.packed_map, media_type="application/octet-stream", headers=headers)


@router.get(
    "/images/{article_id}",
    response_class=Response,
    responses=PHOTO | INVALID | not_found("photo"),
)
async def get_image(request: Request, article_id: ArticleInPath) -> Response:
    """The photo of an article, if the operator installed photos."""
    folder: FilePath | None = request.app.state.images
    if folder is None or not FILE_NAME.fullmatch(article_id):
        raise HTTPException(status.HTTP_404_NOT_FOUND, "the service has no photos")
    photo = await in_pool(request, read_photo, folder, article_id)
    if photo is None:
        raise HTTPException(status.HTTP_404_NOT_FOUND, "the service has no photo of this article")
    headers = {"Cache-Control": "private, max-age=86400", "X-Content-Type-Options": "nosniff"}
    return Response(photo, media_type="image/jpeg", headers=headers)


def read_photo(folder: FilePath, article_id: str) -> bytes | None:
    """The whole photo, or None. No link below ``folder`` is followed, and the id is a ``FILE_NAME``."""
    try:
        subfolder = os.open(folder / article_id[:3], os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            # Without O_NONBLOCK, opening a pipe would wait for its writer.
            name = f"{article_id}.jpg"
            descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=subfolder)
        finally:
            os.close(subfolder)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return None
            content = file.read(MAX_PHOTO + 1)
    except OSError:
        return None
    return content if len(content) <= MAX_PHOTO else None
