"""The demo page: a fixed set of files, read once at import. No build step, and nothing from another host."""

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
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@dataclass(frozen=True)
class File:
    """One file of the page, ready to send."""

    content: bytes
    media_type: str
    etag: str


def read_files() -> dict[str, File]:
    """Every file of the page by its name."""
    files = {}
    for path in sorted(FOLDER.iterdir()):
        if path.suffix in TYPES:
            content = path.read_bytes()
            etag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
            files[path.name] = File(content, TYPES[path.suffix], etag)
    return files


FILES = read_files()
# These need no key, since the files contain no data, and are exempt from the limits.
PATHS = frozenset({"/", *(f"/static/{name}" for name in FILES if name != INDEX)})

router = APIRouter(include_in_schema=False)


@router.get("/")
async def page(request: Request) -> Response:
    """The page."""
    return file_response(request, FILES[INDEX])


@router.get("/static/{name}")
async def static(request: Request, name: str) -> Response:
    """One of the page's files. It is found by name in a dict, so no request path reaches the disk."""
    if name == INDEX or name not in FILES:
        raise HTTPException(status.HTTP_404_NOT_FOUND, "the page has no such file")
    return file_response(request, FILES[name])


def file_response(request: Request, file: File) -> Response:
    headers = {
        "ETag": file.etag,
        "Cache-Control": "no-cache",  # the browser revalidates each file, so it never mixes two versions of the page
        "Content-Security-Policy": POLICY,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
    }
    if request.headers.get("if-none-match") == file.etag:
        return Response(status_code=status.HTTP_304_NOT_MODIFIED, headers=headers)
    return Response(file.content, media_type=file.media_type, headers=headers)
