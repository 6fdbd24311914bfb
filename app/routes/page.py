"""The demo page and the documentation: fixed files, read once at import. No build step, nothing from another host."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from fastapi import APIRouter, HTTPException, Request, Response, status

FOLDER = Path(__file__).parents[1] / "static"
INDEX, DOCS = "index.html", "docs.html"
SWAGGER = ("swagger-ui-bundle.js", "swagger-ui.css")  # its distribution, as fastapi-swagger packages it
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


def read_files(paths: Iterable[Traversable]) -> dict[str, File]:
    """The files by their name."""
    found = {}
    for path in paths:
        content = path.read_bytes()
        etag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
        found[path.name] = File(content, TYPES[Path(path.name).suffix], etag)
    return found


FILES = read_files(path for path in sorted(FOLDER.iterdir()) if path.suffix in TYPES)
SWAGGER_FILES = read_files(files("fastapi_swagger") / "resources" / name for name in SWAGGER)
STATIC = {name: file for name, file in (FILES | SWAGGER_FILES).items() if name not in (INDEX, DOCS)}
# These need no key, since the files contain no data, and are exempt from the limits.
PATHS = frozenset({"/", "/docs", *(f"/static/{name}" for name in STATIC)})

router = APIRouter(include_in_schema=False)


@router.get("/")
async def page(request: Request) -> Response:
    """The page."""
    return file_response(request, FILES[INDEX])


@router.get("/docs")
async def docs(request: Request) -> Response:
    """Swagger UI."""
    return file_response(request, FILES[DOCS])


@router.get("/static/{name}")
async def static(request: Request, name: str) -> Response:
    """One of these files. It is found by name in a dict, so no request path reaches the disk."""
    if name not in STATIC:
        raise HTTPException(status.HTTP_404_NOT_FOUND, "the page has no such file")
    return file_response(request, STATIC[name])


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
