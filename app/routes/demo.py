"""What the demo page needs beside the service's own endpoints: what is served, whom to look at, and was it right."""

from __future__ import annotations

import re
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from fastapi import APIRouter, HTTPException, Query, Request, Response, status
from fastapi import Path as InPath
from fastapi.responses import FileResponse

from app.middleware.metrics import published_at
from app.middleware.worker_pool import in_pool
from app.routes.recommend import INVALID, UNAVAILABLE, ArticleInPath, not_found
from app.schemas import Article
from app.schemas_demo import (
    MAX_CUSTOMERS,
    Counts,
    Customers,
    CustomerSummary,
    Earlier,
    Figure,
    IdPrefix,
    Model,
    Outcome,
    Replay,
    ReplayedCustomer,
    ReplayedList,
    Suggested,
)
from app.serving import answers
from app.serving.answers import UnknownError
from app.serving.model import RecommenderDep
from hm_utils.data.segments import KINDS, Kind

if TYPE_CHECKING:
    from hm_utils.serving.recommender import Recommender

router = APIRouter(tags=["demo"])

SHOWN_METRICS = ("MAP@12", "recall@12", "recall@100", "hit rate@12", "coverage@12")
IMAGE_ID = re.compile(r"[0-9]{10}")
MAP: dict[int | str, dict[str, Any]] = {
    status.HTTP_200_OK: {"content": {"application/octet-stream": {}}},
    status.HTTP_304_NOT_MODIFIED: {"description": "As it was when the client got it"},
}
PHOTO: dict[int | str, dict[str, Any]] = {status.HTTP_200_OK: {"content": {"image/jpeg": {}}}}


@router.get("/model", responses=UNAVAILABLE)
async def get_model(request: Request, model: RecommenderDep) -> Model:
    """What is served: its version, age and data, and how good the evaluation found it."""
    held_out = model.manifest.get("metrics", {}).get("held_out_test", {})
    published = published_at(model.version)
    log = model.log
    return Model(
        version=model.version,
        published=None if published is None else published.isoformat(timespec="seconds"),
        data_from=log.date(0),
        data_until=log.date(log.last_day),
        counts=Counts(articles=len(model.article_ids), customers=model.n_customers, purchases=len(log)),
        tested_customers=held_out.get("customers"),
        metrics={
            ranking: {name: Figure(**figures[name]) for name in SHOWN_METRICS if name in figures}
            for ranking, figures in held_out.get("rankings", {}).items()
        },
        replay=model.replay is not None,
        map=model.packed_map is not None,
        images=request.app.state.images is not None,
    )


@router.get("/customers", responses=INVALID | UNAVAILABLE)
async def find_customers(
    request: Request,
    model: RecommenderDep,
    prefix: Annotated[
        IdPrefix | None, Query(description="how the id begins: lower-case hexadecimal digits", examples=["00000d"])
    ] = None,
    kind: Annotated[
        Kind, Query(description="without a prefix: some at random, of this kind", examples=["frequent"])
    ] = "any",
    limit: Annotated[int, Query(ge=1, le=MAX_CUSTOMERS, description="how many at most", examples=[1])] = 8,
) -> Customers:
    """The first customers whose id begins so; or a few at random, each time others.

    `frequent` is active (bought in the last 30 days) and among the tenth who bought most; `dormant` bought, but not in
    the last 30 days; `young` is below 25 and bought; `never_bought` has no purchase.
    """
    found = await in_pool(request, customers_like, model, prefix, kind, limit)
    return Customers(customers=found, count=len(found))


def customers_like(model: Recommender, prefix: str | None, kind: Kind, limit: int) -> list[CustomerSummary]:
    assert kind in KINDS
    if prefix is not None:
        rows = model.customers_beginning(prefix, limit)
    else:
        those = model.kinds[kind]
        rows = np.random.default_rng().choice(those, min(limit, len(those)), replace=False)
    return [summary(model, row) for row in rows.tolist()]


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
    """Customers of the evaluation, for whom lists that were made before the test days are beside what they bought in
    them. The served model has been trained on those days, so the lists are not its own but those of its like that was
    evaluated."""
    kept = replay_of(model)
    customers = [Outcome(**outcome(number, one)) for number, one in enumerate(kept["customers"])]
    return Replay(
        **{name: kept[name] for name in ("first_day", "last_day", "drawn_from", "rankings")},
        customers=customers,
        count=len(customers),
    )


@router.get("/replay/{number}", responses=INVALID | not_found("number") | UNAVAILABLE)
async def get_replayed_customer(
    request: Request,
    model: RecommenderDep,
    number: Annotated[int, InPath(ge=0, le=9_999, description="as in GET /replay", examples=[0])],
) -> ReplayedCustomer:
    """One of these customers: what they had bought, the lists, and what they then bought."""
    customers = replay_of(model)["customers"]
    if number >= len(customers):
        raise UnknownError(f"unknown number: the replay has {len(customers)} customers")
    return await in_pool(request, replayed, model, number, customers[number])


def replay_of(model: Recommender) -> dict[str, Any]:
    if model.replay is None:
        raise UnknownError("this model was published without a replay")
    return model.replay


def outcome(number: int, one: dict[str, Any]) -> dict[str, Any]:
    bought = set(one["bought"])
    return {
        "number": number,
        "customer_id": one["customer_id"],
        "purchases_before": one["purchases_before"],
        "bought": len(bought),
        "hits": {name: len(bought.intersection(ids)) for name, ids in one["lists"].items()},
    }


def replayed(model: Recommender, number: int, one: dict[str, Any]) -> ReplayedCustomer:
    def of(article_id: str) -> Article:
        return answers.article(model, answers.article_row(model, article_id))

    bought, before = set(one["bought"]), {each["article_id"] for each in one["before"]}
    lists = [
        ReplayedList(
            ranking=name,
            average_precision=one["average_precision"][name],
            articles=[
                Suggested(rank=rank, hit=each in bought, bought_before=each in before, article=of(each))
                for rank, each in enumerate(ids, start=1)
            ],
        )
        for name, ids in one["lists"].items()
    ]
    return ReplayedCustomer(
        **outcome(number, one),
        before=[Earlier(date=each["date"], article=of(each["article_id"])) for each in one["before"]],
        then_bought=[of(each) for each in one["bought"]],
        lists=lists,
    )


@router.get(
    "/map",
    response_class=Response,
    responses=MAP | not_found("map") | UNAVAILABLE,
)
async def get_map(request: Request, model: RecommenderDep) -> Response:
    """Where each article lies in a plane in which what goes to the same people is close. Little-endian: uint32 n and
    length of the header; the header, JSON with `groups`; then n each of uint32 article id without its last three
    digits, uint16 these three, uint16 x, uint16 y, uint8 place in `groups` (255: none)."""
    if model.packed_map is None:
        raise UnknownError("this model was published without a map")
    headers = {"ETag": f'"{model.version}"', "Cache-Control": "private, no-cache"}
    if request.headers.get("if-none-match") == headers["ETag"]:
        return Response(status_code=status.HTTP_304_NOT_MODIFIED, headers=headers)
    return Response(model.packed_map, media_type="application/octet-stream", headers=headers)


@router.get(
    "/images/{article_id}",
    response_class=FileResponse,
    responses=PHOTO | INVALID | not_found("photo"),
)
async def get_image(request: Request, article_id: ArticleInPath) -> FileResponse:
    """The photo of an article, if the operator has put photos beside the service."""
    folder: FilePath | None = request.app.state.images
    if folder is None or not IMAGE_ID.fullmatch(article_id):
        raise HTTPException(status.HTTP_404_NOT_FOUND, "there are no photos here")
    file = folder / article_id[:3] / f"{article_id}.jpg"  # ten digits: there is no way out of the folder
    if not await in_pool(request, file.is_file):
        raise HTTPException(status.HTTP_404_NOT_FOUND, "there is no photo of this article")
    headers = {"Cache-Control": "private, max-age=86400", "X-Content-Type-Options": "nosniff"}
    return FileResponse(file, media_type="image/jpeg", headers=headers)
