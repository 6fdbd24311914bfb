"""Checkpoints: the weights and the sizes of the towers, in one file without code.

``torch.load(weights_only=True)`` reads only tensors and plain values, so a file cannot run anything.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from textwrap import shorten
from typing import Any

import torch

from hm_utils.files import atomic_replace
from hm_utils.model.towers import TowerConfig, TwoTower

FORMAT = 9  # raise it when today's code would misread older weights


class CheckpointError(RuntimeError):
    """A checkpoint cannot be used; the message says why and what to do."""


def save_checkpoint(
    path: Path, model: TwoTower, identity: dict[str, Any], history: list[dict[str, float]], epoch: int
) -> None:
    """Write the weights and everything needed to rebuild the model; the file is whole or absent."""
    weights = {name: value.cpu() for name, value in model.state_dict().items()}
    atomic_save(path, {**identity, "model": weights, "history": history, "epoch": epoch})


def read_checkpoint(path: Path, data_fingerprint: str | None = None) -> dict[str, Any]:
    """The content of a checkpoint; no code from the file is run.

    Args:
        data_fingerprint: the preprocessed data that the model must have been trained on. After another split, the
            model may have learned from the test days.

    Raises:
        CheckpointError: the file is missing, is no checkpoint, or was trained on other data.
    """
    try:
        content = load_file(path)
        missing = {"format", "model", "tower_config", "settings"} - content.keys()
    except FileNotFoundError:
        raise CheckpointError(f"no checkpoint at {path}: run notebook 03_training first") from None
    except Exception as error:
        raise CheckpointError(f"{path} is not a readable checkpoint ({error}): train again") from error
    if content.get("format", FORMAT) != FORMAT:
        raise CheckpointError(f"{path} has format {content['format']}, this is {FORMAT}: train again")
    if missing:
        raise CheckpointError(f"{path} lacks {sorted(missing)}: it was not written by this project; train again")
    if data_fingerprint is not None and content.get("data_fingerprint") != data_fingerprint:
        raise CheckpointError(
            f"{path} was trained on other preprocessed data (fingerprint {content.get('data_fingerprint')}, "
            f"not {data_fingerprint}): run notebook 03_training again"
        )
    return content


def load_file(path: Path) -> dict[str, Any]:
    """The content of a file of :func:`atomic_save`, its checksums verified, which torch does not do.

    Raises:
        ValueError: a bit of it was flipped.
        Exception: torch's errors for a file that is damaged in another way.
    """
    with zipfile.ZipFile(path) as parts:
        # torch neither compresses a part nor gives it attributes, such as that of a folder, which it would not read.
        odd = (part.filename for part in parts.infolist() if part.file_size != part.compress_size or part.external_attr)
        damaged = next(odd, None) or parts.testzip()
    if damaged is not None:
        raise ValueError(f"{damaged} in it is damaged")
    content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return content


def load_checkpoint(path: Path) -> TwoTower:
    """The model of a checkpoint, on the CPU, in evaluation mode.

    Raises:
        CheckpointError: as :func:`read_checkpoint`, or the towers' code has changed since.
        TowerError: it names tower classes that this process was not told to use.
    """
    return restore(read_checkpoint(path), path)


def restore(content: dict[str, Any], path: Path) -> TwoTower:
    """:func:`load_checkpoint` from the content that was read from ``path``."""
    facts: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in content["tower_config"].items()
    }
    try:
        model = TwoTower(TowerConfig(**facts))
        model.load_state_dict(content["model"])
    except (TypeError, RuntimeError) as error:  # of the towers' settings, and of the weights' names and shapes
        problem = shorten(str(error), 200)
        raise CheckpointError(f"{path} does not fit today's towers ({problem}): train again") from error
    return model.eval()


def atomic_save(path: Path, content: dict[str, Any]) -> None:
    """``torch.save``, but a reader finds the old file or the new one, never half of it."""
    with atomic_replace(path) as partial, partial.open("wb") as file:  # a path's name would be in the content
        torch.save(content, file)


def plain(value: Any) -> Any:
    """Tuples become lists, as they do in a file."""
    if isinstance(value, dict):
        return {key: plain(entry) for key, entry in value.items()}
    return [plain(entry) for entry in value] if isinstance(value, (tuple, list)) else value
