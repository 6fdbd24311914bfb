"""Requests as the internet sends them: most are valid, some invalid, some hostile."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from urllib.parse import quote

from benchmarks.load import posted

GARBAGE = ["", "\x00", "😀" * 20, "' OR 1=1 --", "<script>alert(1)</script>", "../../etc/passwd", "%2e%2f", "9" * 400]
ODD: list[Any] = [None, True, -1, 0, 1.5, 1e308, 10**30, "", "x", [], {}, [[]], {"a": {}}, "NaN", *GARBAGE]
PATHS = ["/", "/docs", "/openapi.json", "/health", "/ready", "/metrics", "/filters", "/none", "/admin/reload"]
METHODS = ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "TRACE"]


def odd_requests(customers: Sequence[str], articles: Sequence[str], seed: int = 0) -> Iterator[bytes]:
    """Endless HTTP messages; the same for the same seed."""
    draw = random.Random(seed)

    def customer() -> str:
        return draw.choice(customers) if draw.random() < 0.9 else f"{draw.getrandbits(256):064x}"

    def article() -> str:
        return draw.choice(articles) if draw.random() < 0.9 else f"{draw.randrange(10**10):010d}"

    def valid() -> dict[str, Any]:
        body: dict[str, Any] = {"customer_id": customer(), "top_k": draw.randint(1, 100)}
        optional: dict[str, Callable[[], Any]] = {
            "history": lambda: [article() for _ in range(draw.randint(0, 20))],
            "customer": lambda: {"age": draw.randint(16, 99)},
            "exclude_items": lambda: [article() for _ in range(draw.randint(0, 30))],
            "exclude_purchased": lambda: draw.random() < 0.5,
            "diversity": lambda: draw.random(),
            "filters": lambda: {"price": {"max": draw.random() / 10}},
            "include": lambda: draw.sample(["details", "reasons"], draw.randint(0, 2)),
        }
        for name in draw.sample(list(optional), draw.choice([0, 0, 0, 1, 2])):
            body[name] = optional[name]()
        return body

    def invalid() -> bytes:
        body = valid()
        body[draw.choice([*body, "unknown", "filters", "history", "include"])] = draw.choice(ODD)
        return posted(body)

    def torn() -> bytes:
        """JSON that is cut or has a byte changed."""
        text = bytearray(json.dumps(valid()).encode())
        if draw.random() < 0.5:
            text = text[: draw.randrange(len(text))]
        else:
            text[draw.randrange(len(text))] = draw.randrange(256)
        return b"POST /recommend HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(text), bytes(text))

    def get() -> bytes:
        word = quote(draw.choice(["dress", "black", "trouser", *GARBAGE]))
        paths = [f"/articles/{article()}", f"/customers/{customer()}", f"/articles/{word}", f"/articles?q={word}"]
        paths += [f"/articles/{article()}/similar?top_k={draw.randint(-1, 200)}", *PATHS]
        return f"GET {draw.choice(paths)} HTTP/1.1\r\nHost: x\r\n\r\n".encode()

    def other_method() -> bytes:
        line = f"{draw.choice(METHODS)} {draw.choice(['/recommend', *PATHS])} HTTP/1.1"
        return f"{line}\r\nHost: x\r\nContent-Length: 0\r\n\r\n".encode()

    kinds: list[tuple[Callable[[], bytes], int]] = [
        (lambda: posted(valid()), 45),
        (invalid, 25),
        (torn, 8),
        (get, 12),
        (other_method, 4),
        (lambda: posted({"customer_ids": [customer() for _ in range(draw.randint(0, 20))]}, "/recommend/batch"), 4),
        (lambda: draw.randbytes(draw.randint(1, 200)) + b"\r\n\r\n", 1),  # no HTTP at all
        (lambda: posted({"customer_id": customer(), "exclude_items": [article() for _ in range(20_000)]}), 1),
    ]
    while True:
        yield draw.choices(*zip(*kinds, strict=True))[0]()
