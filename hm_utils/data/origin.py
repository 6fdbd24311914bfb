"""The data that a run is of: the synthetic sample, or the user's own. Every report and the page say which."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hm_utils.files import repository_root, resolve

SAMPLE_FACTS, SAMPLE_MAKER = "sample.json", "hm_utils.sample"


@dataclass(frozen=True)
class Origin:
    """Where raw tables were read from.

    Attributes:
        synthetic: whether :mod:`hm_utils.sample` made them.
        folder: relative to the repository; outside of it the name alone, as a published page must not show the
            folders of a machine. It is the user's text: escape it.
    """

    synthetic: bool
    folder: str

    @classmethod
    def of(cls, data_dir: str | Path, rows_read: Mapping[str, int]) -> Origin:
        """The origin of the tables in ``data_dir`` (a folder or a URI), whose files had so many rows by table.

        Other tables that were put into a sample's folder are not called synthetic.
        """
        folder = Path(data_dir) if "://" in str(data_dir) else resolve(data_dir)
        try:
            facts = json.loads((folder / SAMPLE_FACTS).read_text())
            synthetic = facts["made_by"] == SAMPLE_MAKER and all(facts[name] == n for name, n in rows_read.items())
        except (OSError, ValueError, KeyError, TypeError):
            synthetic = False
        inside = folder.is_relative_to(repository_root())
        return cls(synthetic, str(folder.relative_to(repository_root())) if inside else folder.name)


def data_line(origin: Mapping[str, Any] | None, customers: int, articles: int, days: int) -> str:
    """ "Synthetic sample: 21,000 customers, 10,000 articles, 734 days", or "Your data in data/raw: …".

    Args:
        origin: the fields of an :class:`Origin`, as a manifest has them; None for a manifest from before they were
            recorded.
    """
    counts = ((customers, "customer"), (articles, "article"), (days, "day"))
    sizes = ", ".join(f"{n:,} {word}{'' if n == 1 else 's'}" for n, word in counts)
    if origin is None:
        return sizes
    name = "Synthetic sample" if origin["synthetic"] else f"Your data in {origin['folder']}"
    return f"{name}: {sizes}"
