"""The model that is being served, or why there is none."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import Depends, HTTPException, Request, status

from app.logs import logger
from hm_utils.serving.bundle import BundleError, read_manifest

if TYPE_CHECKING:
    from hm_utils.serving.recommender import Recommender
else:  # FastAPI looks the name up; importing the class would import torch before there is need
    Recommender = Any

M_MMAP_THRESHOLD, LARGE_BLOCK = -3, 1 << 20  # of mallopt(3); bytes
WARM_UP = 3  # times that the golden query is asked before a model is served

Load = Callable[
    ..., Any
]  # of a path, and of a vector store where one is set: a Recommender, or what stands in for one in a test


@dataclass(frozen=True)
class Serving:
    """A loaded model, or the reason why there is none; one is set, the other None."""

    recommender: Recommender | None
    problem: str | None = None


def load_recommender(path: Path, vector_store: str | None = None) -> Recommender:
    """Load the model in ``path``, verified and warm. Imported here: the app starts, and answers, without torch."""
    read_manifest(path.resolve())  # without a model there is nothing to wait for torch for
    return_large_blocks()
    import torch

    from hm_utils.serving.recommender import Recommender as PublishedModel

    # One query is far too small to share out, and threads that wait for each other beside another busy
    # process cost many times what they save.
    torch.set_num_threads(1)
    model = PublishedModel.load(path, vector_store)
    for customer_id in model.manifest["golden"]["customer_ids"] * WARM_UP:
        model.recommend(model.customers(model.customer_rows([customer_id])), 10)
    # Looking for garbage among all that a model and its libraries hold takes a tenth of a second, in which nobody is
    # answered: now, when a model comes and another may go, and then not again.
    gc.unfreeze()
    gc.collect()
    gc.freeze()
    return model


def return_large_blocks() -> None:
    """Have freed arrays given back to the system.

    By itself glibc raises the size from which it does (``M_MMAP_THRESHOLD``) to the largest array ever freed, and keeps
    smaller ones in heaps with holes: of H&M's size, 100 MiB a worker from the loading of a model, and some 20 MiB more
    or less with every few thousand requests.
    """
    with suppress(AttributeError):  # another C library
        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, LARGE_BLOCK)


def open_model(path: Path, load: Load) -> Serving:
    """Load the model, and log why if that fails."""
    try:
        recommender = load(path)
    except BundleError as error:
        logger.error("model refused: %s", error)
        # A library's own message may have the path of a file in the model.
        return Serving(None, error.problem.replace(f"{error.folder}/", ""))
    except Exception:
        logger.exception("model refused: %s could not be loaded", path)
        return Serving(None, "the model could not be loaded: the service's log says why")
    logger.info("model %s is loaded", recommender.version)
    return Serving(recommender)


def data_until(recommender: Recommender) -> str | None:
    """The last day of purchases that the model knows, if its manifest says so."""
    last_date = getattr(recommender, "manifest", {}).get("data", {}).get("last_date")
    return None if last_date is None else str(last_date)


async def get_serving(request: Request) -> Serving:
    """What the application holds now."""
    serving: Serving = request.app.state.serving
    return serving


ServingDep = Annotated[Serving, Depends(get_serving)]


async def get_recommender(request: Request) -> Recommender:
    """The loaded model; 503 while there is none."""
    serving: Serving = request.app.state.serving  # not ServingDep: to solve one more costs a hundredth of an answer
    if serving.recommender is None:
        raise HTTPException(status.HTTP_503_SERVICE_UNAVAILABLE, serving.problem)
    return serving.recommender


RecommenderDep = Annotated[Recommender, Depends(get_recommender)]
