"""Requests as the internet sends them: most of them right, some wrong, some of ill will."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from benchmarks.serving import posted

GARBAGE = [
    "",
    "\x00",
    "😀" * 20,
    "' OR 1=1 --",
    "<script>alert(1)</script>",
    "../../etc/passwd",
    "%2e%2e%2f",
    "9" * 400,
]
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

    def right() -> dict[str, Any]:
        """A valid body, with any of the optional fields."""
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

    def wrong() -> dict[str, Any]:
        """A body with one value that is not what belongs there."""
        body = right()
        body[draw.choice([*body, "unknown", "filters", "history", "include"])] = draw.choice(ODD)
        return body

    def torn() -> bytes:
        """JSON that was cut or has a byte changed."""
        text = bytearray(json.dumps(right()).encode())
        if draw.random() < 0.5:
            text = text[: draw.randrange(len(text))]
        else:
            text[draw.randrange(len(text))] = draw.randrange(256)
        return raw_post(bytes(text))

    def batch() -> bytes:
        return posted({"customer_ids": [customer() for _ in range(draw.randint(0, 20))]}, "/recommend/batch")

    def get() -> bytes:
        word = draw.choice(["dress", "black", "trouser", *GARBAGE])
        paths = [f"/articles/{article()}", f"/customers/{customer()}", f"/articles/{quoted(word)}"]
        paths += [f"/articles/{article()}/similar?top_k={draw.randint(-1, 200)}", f"/articles?q={quoted(word)}", *PATHS]
        return f"GET {draw.choice(paths)} HTTP/1.1\r\nHost: x\r\n\r\n".encode()

    def other_method() -> bytes:
        method = draw.choice(METHODS)
        return (
            f"{method} {draw.choice(['/recommend', *PATHS])} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n".encode()
        )

    def large() -> bytes:
        return posted({"customer_id": customer(), "exclude_items": [article() for _ in range(20_000)]})

    def noise() -> bytes:
        """No HTTP at all."""
        return draw.randbytes(draw.randint(1, 200)) + b"\r\n\r\n"

    kinds: dict[Callable[[], bytes], int] = {
        lambda: posted(right()): 45,
        lambda: posted(wrong()): 25,
        torn: 8,
        get: 12,
        other_method: 4,
        batch: 4,
        noise: 1,
        large: 1,
    }
    while True:
        yield draw.choices(list(kinds), list(kinds.values()))[0]()


def quoted(text: str) -> str:
    """Percent-encoded, byte by byte."""
    return "".join(f"%{byte:02x}" for byte in text.encode())


def raw_post(body: bytes) -> bytes:
    return b"POST /recommend HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
