"""The model that is being served, or why there is none."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import Depends, HTTPException, Request, status

from hm_utils.bundle import BundleError

if TYPE_CHECKING:
    from hm_utils.recommender import Recommender
else:  # FastAPI looks the name up; importing the class would import torch before there is need
    Recommender = Any

# uvicorn sets up this logger and no other, so what is said here is seen without any configuration of ours.
logger = logging.getLogger("uvicorn.error").getChild("hm")

DEFAULT_MODEL = Path(__file__).parents[1] / "artifacts" / "model"


Load = Callable[[Path], Recommender]


@dataclass(frozen=True)
class Serving:
    """A loaded model, or the reason why there is none; one is set, the other None."""

    recommender: Recommender | None
    problem: str | None = None


def model_path() -> Path:
    """The published model: ``HM_MODEL``, or ``artifacts/model`` beside the code."""
    return Path(os.environ.get("HM_MODEL") or DEFAULT_MODEL)


def load_recommender(path: Path) -> Recommender:
    """Load the model in ``path``, verified. Imported here: the app starts, and answers, without torch."""
    import torch

    from hm_utils.recommender import Recommender as PublishedModel

    # One query is far too small to share out, and threads that wait for each other beside another busy
    # process cost many times what they save.
    torch.set_num_threads(1)
    return PublishedModel.load(path)


def open_model(path: Path, load: Load) -> Serving:
    """Load the model, and log why if that fails: the service is then alive, and not ready."""
    try:
        recommender = load(path)
    except BundleError as error:
        logger.error("not serving: %s", error)
        return Serving(None, error.problem)
    except Exception:
        logger.exception("not serving: %s could not be loaded", path)
        return Serving(None, "the model could not be loaded: the service's log says why")
    logger.info("serving model %s", recommender.version)
    return Serving(recommender)


async def get_serving(request: Request) -> Serving:
    """What the application holds now."""
    serving: Serving = request.app.state.serving
    return serving


ServingDep = Annotated[Serving, Depends(get_serving)]


async def get_recommender(serving: ServingDep) -> Recommender:
    """The loaded model; 503 while there is none."""
    if serving.recommender is None:
        raise HTTPException(status.HTTP_503_SERVICE_UNAVAILABLE, serving.problem)
    return serving.recommender


RecommenderDep = Annotated[Recommender, Depends(get_recommender)]
