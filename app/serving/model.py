"""The served model, or the reason why none is served."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import Depends, HTTPException, Request, status

from app.logs import logger
from hm_utils.files import follow
from hm_utils.serving.bundle import BundleError, read_manifest
from hm_utils.serving.stock import StockError
from hm_utils.serving.trial import try_model

if TYPE_CHECKING:
    from hm_utils.serving.recommender import Recommender
else:  # FastAPI evaluates the annotation; importing the class would import torch too early
    Recommender = Any

M_MMAP_THRESHOLD, LARGE_BLOCK = -3, 1 << 20  # mallopt(3)'s parameter, bytes
WARM_UP = 3  # runs of the golden query before a model is served

# Takes a path, and a vector store where one is configured. Returns a Recommender, or a test's replacement.
Load = Callable[..., Any]


@dataclass(frozen=True)
class Serving:
    """A loaded model, or the reason why there is none. Exactly one of the two is set."""

    recommender: Recommender | None
    problem: str | None = None


def load_recommender(path: Path, vector_store: str | None = None) -> Recommender:
    """Load, verify and warm up the model in ``path``. Torch is imported here: the app starts without it."""
    path = follow(path)  # once: the link may move on
    read_manifest(path)  # without a model, do not wait for the import of torch
    try_model(path)
    return_large_blocks()
    import torch

    from hm_utils.serving.recommender import Recommender as PublishedModel

    # One query is too small to share between threads. Beside another busy process, threads that wait for each other
    # cost many times what they save.
    torch.set_num_threads(1)
    model = PublishedModel.load(path, vector_store, tried=True)
    for customer_id in model.manifest["golden"]["customer_ids"] * WARM_UP:
        model.recommend(model.customers(model.customer_rows([customer_id])), 10)
    # A garbage collection over a model and its libraries blocks every request for 0.1 seconds. Collect once now, then
    # exclude all of these objects from later collections.
    gc.unfreeze()
    gc.collect()
    gc.freeze()
    return model


def return_large_blocks() -> None:
    """Make glibc return freed arrays to the system.

    By default glibc raises the threshold for this (``M_MMAP_THRESHOLD``) to the largest array ever freed, and keeps
    smaller arrays in fragmented heaps. On H&M's data this costs 100 MiB per worker after loading a model, and memory
    varies by 20 MiB with every few thousand requests.
    """
    with suppress(AttributeError):  # another C library
        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, LARGE_BLOCK)


def open_model(path: Path, load: Load) -> Serving:
    """Load the model; a failure is logged and becomes the result's ``problem``."""
    try:
        recommender = load(path)
    except BundleError as error:
        logger.error("model refused: %s", error)
        # The message of a library may contain the path of a file in the model.
        return Serving(None, error.problem.replace(f"{error.folder}/", ""))
    except StockError as error:
        logger.error("model refused: %s", error)
        return Serving(None, str(error))
    except Exception:
        logger.exception("model refused: %s could not be loaded", path)
        return Serving(None, "the model could not be loaded: see the service's log")
    logger.info("model %s is loaded", recommender.version)
    return Serving(recommender)


def data_until(recommender: Recommender) -> str | None:
    """The last day of the model's purchases, if its manifest has it."""
    last_date = recommender.manifest.get("data", {}).get("last_date")
    return None if last_date is None else str(last_date)


def published_at(version: str) -> datetime | None:
    """The time of publication, which the version begins with; None for any other version."""
    try:
        return datetime.strptime(version.partition("-")[0], "%Y%m%dT%H%M%S.%fZ").replace(tzinfo=UTC)
    except ValueError:
        return None


async def get_recommender(request: Request) -> Recommender:
    """The loaded model; 503 while there is none."""
    serving: Serving = request.app.state.serving  # not a dependency of its own, which would cost 1 % of an answer
    if serving.recommender is None:
        raise HTTPException(status.HTTP_503_SERVICE_UNAVAILABLE, serving.problem)
    return serving.recommender


RecommenderDep = Annotated[Recommender, Depends(get_recommender)]
