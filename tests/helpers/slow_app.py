"""``python -m app`` with a model without torch, an endpoint that takes half a second, and a short queue of logs."""

from __future__ import annotations

import time

from fastapi import Request

from app import logs
from app.__main__ import main
from app.main import create_app
from app.middleware.worker_pool import in_pool
from tests.helpers.live import Fake

logs.MAX_LINES = 500
app = create_app(load=lambda path: Fake("20260120T101530.123456Z-1f2e3d4c"))


@app.get("/slow")
async def slow(request: Request) -> int:
    await in_pool(request, time.sleep, 0.5)
    return 1


if __name__ == "__main__":
    main("tests.helpers.slow_app:app")
