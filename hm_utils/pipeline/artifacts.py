"""Where a run keeps what it makes: with other parameters in another place, and the latest by one name.

    artifacts/preprocessed-3f2a91c0/                 of one set of parameters
    artifacts/preprocessed -> preprocessed-3f2a91c0  the latest, which the next notebook reads
    artifacts/checkpoints/run-77b0e412/two_tower.pt
    artifacts/checkpoints/two_tower.pt -> run-77b0e412/two_tower.pt

The same parameters on the same data have the same place, so an interrupted run goes on where it was; a run with others
never overwrites it. A path that was given as a parameter is taken as it is.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from dataclasses import asdict
from pathlib import Path

from hm_utils.model.towers import TowerConfig
from hm_utils.training.loop import TrainingSettings


def own_path(path: Path, *identity: object) -> Path:
    """``path`` with a short hash of what makes it different from others of its name."""
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    return path.with_name(f"{path.name}-{digest[:8]}")


def own_checkpoint(artifacts: Path, config: TowerConfig, settings: TrainingSettings, fingerprint: str) -> Path:
    """Where the checkpoint of these towers, settings and preprocessed data goes, on whatever device."""
    facts = asdict(settings) | {"device": ""}
    return own_path(artifacts / "checkpoints" / "run", asdict(config), facts, fingerprint) / "two_tower.pt"


def point(link: Path, target: Path) -> None:
    """Make ``link`` lead to ``target``, a path below the same folder, in one step.

    A file or folder of that name, of a version that kept everything in one place, is set aside.
    """
    if link.exists() and not link.is_symlink():
        link.rename(link.with_name(f"{link.name}-before-{time.time_ns()}"))
    beside = link.with_name(f".{link.name}.{os.getpid()}")
    beside.unlink(missing_ok=True)
    beside.symlink_to(target.relative_to(link.parent))  # relative: the artifacts folder may move
    beside.replace(link)
