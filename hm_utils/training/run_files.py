"""The files of a training run: the best epoch's checkpoint, and the state that a later run resumes from."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hm_utils.model.checkpoint import CheckpointError, atomic_save, load_file, read_checkpoint, save_checkpoint
from hm_utils.model.towers import TwoTower

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunFiles:
    """The files of one training run.

    Attributes:
        checkpoint_path: file for the best epoch's weights.
        identity: settings and data that a run must share with an interrupted one to resume it.
    """

    checkpoint_path: Path
    identity: dict[str, Any]

    @property
    def resume_path(self) -> Path:
        return self.checkpoint_path.with_name(self.checkpoint_path.name + ".resume")

    def save_best(self, model: TwoTower, history: list[dict[str, float]], epoch: int) -> None:
        save_checkpoint(self.checkpoint_path, model, self.identity, history, epoch)

    def save_state(self, state: dict[str, Any]) -> None:
        """Keep the state after an epoch, for :meth:`load_state`."""
        atomic_save(self.resume_path, {**self.identity, **state})

    def load_state(self) -> dict[str, Any] | None:
        """The state of an interrupted run with the same identity; None starts afresh."""
        return self.read_state(self.resume_path)

    def end(self) -> None:
        """The run is complete: nothing is left to resume."""
        self.resume_path.unlink(missing_ok=True)

    def read_state(self, path: Path) -> dict[str, Any] | None:
        """The state at ``path``, if it can be used; otherwise None, and a warning says why."""
        if not path.exists():
            return None
        try:
            saved = load_file(path)
        except Exception as error:
            logger.warning("%s cannot be read (%s): training starts anew", path, error)
            return None
        different = [key for key in self.identity if saved.get(key) != self.identity[key]]
        if different:
            logger.warning("%s was left by a run with different %s: training starts anew", path, ", ".join(different))
            return None
        try:  # the result, if no later epoch is better
            best = read_checkpoint(self.checkpoint_path)
        except CheckpointError as error:
            logger.warning("the best epoch so far is gone (%s): training starts anew", error)
            return None
        if any(best.get(key) != self.identity[key] for key in self.identity):
            logger.warning("%s is another run's: training starts anew and replaces it", self.checkpoint_path)
            return None
        logger.info("resuming after epoch %d of an interrupted run (%s)", len(saved["history"]), path)
        return saved
