"""Files that a test damages."""

from __future__ import annotations

from pathlib import Path


def write_over(path: Path, content: bytes) -> None:
    """Replace the content of a published file, which is read-only."""
    path.unlink(missing_ok=True)
    path.write_bytes(content)
