"""The demo page: a fixed list of files, read once, without a build and without anything from another host."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from fastapi import APIRouter, HTTPException, Request, Response, status

FOLDER = Path(__file__).parents[1] / "static"
INDEX = "index.html"
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ]
)


@dataclass(frozen=True)
class File:
    """One file of the page, as it is sent."""

    content: bytes
    media_type: str
    etag: str


def read_files() -> dict[str, File]:
    """Every file of the page by its name."""
    found = {}
    for path in sorted(FOLDER.iterdir()):
        if path.suffix in TYPES:
            content = path.read_bytes()
            etag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
            found[path.name] = File(content, TYPES[path.suffix], etag)
    return found


FILES = read_files()
# Open without the key, as there is no data in them, and outside of the limits: they wait for nothing.
PATHS = frozenset({"/", *(f"/static/{name}" for name in FILES if name != INDEX)})

router = APIRouter(include_in_schema=False)


@router.get("/")
async def page(request: Request) -> Response:
    """The page."""
    return sent(request, FILES[INDEX])


@router.get("/static/{name}")
async def static(request: Request, name: str) -> Response:
    """One of the page's files: looked up by its name, so that no path of a request reaches the disk."""
    if name == INDEX or name not in FILES:
        raise HTTPException(status.HTTP_404_NOT_FOUND, "the page has no such file")
    return sent(request, FILES[name])


def sent(request: Request, file: File) -> Response:
    # no-cache: the browser asks each time whether it is as it was, so that a new version is never half an old one.
    headers = {
        "ETag": file.etag,
        "Cache-Control": "no-cache",
        "Content-Security-Policy": POLICY,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
    }
    if request.headers.get("if-none-match") == file.etag:
        return Response(status_code=status.HTTP_304_NOT_MODIFIED, headers=headers)
    return Response(file.content, media_type=file.media_type, headers=headers)
