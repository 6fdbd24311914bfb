"""``python -m app`` with a model that needs no torch, and an endpoint that takes half a second."""

from __future__ import annotations

import time

from fastapi import Request

from app.__main__ import main
from app.main import create_app
from app.middleware.worker_pool import in_pool
from tests.helpers.live import Fake

app = create_app(load=lambda path: Fake("20260120T101530.123456Z-1f2e3d4c"))


@app.get("/slow")
async def slow(request: Request) -> int:
    await in_pool(request, time.sleep, 0.5)
    return 1


if __name__ == "__main__":
    main("tests.helpers.slow_app:app")
