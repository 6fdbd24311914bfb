"""The place of a run's results: one folder for each set of parameters, and a link to the latest.

    artifacts/preprocessed-3f2a91c0/                 one set of parameters
    artifacts/preprocessed -> preprocessed-3f2a91c0  the latest, which the next notebook reads
    artifacts/checkpoints/run-77b0e412/two_tower.pt
    artifacts/checkpoints/two_tower.pt -> run-77b0e412/two_tower.pt

The same parameters on the same data lead to the same place, so an interrupted run resumes there. A run with other
parameters does not overwrite it. A path given as a parameter is used unchanged.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any


def own_path(path: Path, *identity: object) -> Path:
    """``path`` with a short hash of ``identity``, the plain values that set it apart."""
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    return path.with_name(f"{path.name}-{digest[:8]}")


def own_checkpoint(artifacts: Path, fingerprint: str, *settings: Any) -> Path:
    """The checkpoint of these settings (dataclasses) on the data with this fingerprint.

    A field ``device`` makes no difference: a run on a GPU resumes one on the CPU.
    """
    facts = [{name: value for name, value in asdict(group).items() if name != "device"} for group in settings]
    return own_path(artifacts / "checkpoints" / "run", fingerprint, *facts) / "two_tower.pt"
