"""The towers of a published model as ONNX files, for services in other languages.

    python -m hm_utils.serving.export_onnx --model artifacts/model --output artifacts/onnx

docs/service.md has the inputs. Each file is compared with its tower before it is written.
"""

from __future__ import annotations

import argparse
import logging
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor, nn

from hm_utils.files import atomic_replace, follow
from hm_utils.model.checkpoint import CheckpointError, read_checkpoint, restore
from hm_utils.model.tower_classes import TowerError
from hm_utils.model.towers import TowerConfig
from hm_utils.serving.bundle import BundleError, verify
from hm_utils.serving.model_folder import CHECKPOINT

TOLERANCE = 1e-5
FILES = {"item": "item_tower.onnx", "user": "user_tower.onnx"}
# Sizes that differ by file: customers or articles, different articles in all histories, and purchases of a history.
AXES = {"n": 3, "m": 4, "length": 5}
OTHERS = ({"n": 1, "m": 1, "length": 1}, {"n": 17, "m": 30, "length": 9})

Inputs = dict[str, tuple[Tensor, dict[int, str]]]  # values, and the names of the axes whose size may vary


class ExportError(RuntimeError):
    """A tower cannot be exported; the message says which and why."""


def export(folder: Path, output: Path) -> float:
    """Write both towers of the published model in ``folder`` into the folder ``output``.

    Returns:
        The largest difference between an exported vector's value and the tower's, on random inputs.

    Raises:
        BundleError, CheckpointError, TowerError: the model is damaged, or its towers cannot be used.
        ExportError: a tower has an operation that ONNX lacks, or the exported one gives other vectors.
        ImportError: without the extra ``onnx``.
    """
    import onnxruntime  # here, so that a missing package is said before the towers are read

    manifest = verify(folder)
    content = read_checkpoint(folder / CHECKPOINT)
    towers = restore(content, folder / CHECKPOINT)
    facts = {
        "version": str(manifest["version"]),
        "scale": repr(float(towers.scale.detach())),
        "history_length": str(content["settings"]["history_length"]),
    }
    largest = 0.0
    for kind, tower in (("item", towers.item_tower), ("user", towers.user_tower)):
        try:
            with quiet():
                program = exported(tower, inputs(kind, towers.config, AXES))
        except Exception as error:  # the exporter's own, of many kinds
            reason = str(error.__cause__ or error).strip().partition("\n")[0]
            raise ExportError(f"the {kind} tower cannot be exported: {reason}") from error
        program.model.metadata_props.update(facts)
        with atomic_replace(output / FILES[kind]) as partial:
            program.save(partial)
            session = onnxruntime.InferenceSession(partial.read_bytes(), providers=["CPUExecutionProvider"])
            for sizes in OTHERS:
                values = {name: value for name, (value, _) in inputs(kind, towers.config, sizes).items()}
                with torch.inference_mode():
                    expected = tower(*values.values()).numpy()
                try:
                    (found,) = session.run(None, {name: value.numpy() for name, value in values.items()})
                except Exception as error:  # ONNX Runtime's own, of many kinds
                    hint = "in forward, take row counts from x.shape[0], not len(x)"
                    raise ExportError(f"the exported {kind} tower takes no inputs of another size: {hint}") from error
                largest = max(largest, float(np.abs(found - expected).max()))
            if not largest <= TOLERANCE:
                raise ExportError(f"the exported {kind} tower differs from the tower by {largest:.1e}")
    return largest


def inputs(kind: str, config: TowerConfig, sizes: dict[str, int]) -> Inputs:
    """Random arguments of a tower's ``forward`` by name, in order."""
    n, m, length = sizes["n"], sizes["m"], sizes["length"]
    draw = torch.Generator().manual_seed(0)

    def codes(columns: Sequence[int]) -> Tensor:
        return torch.stack([torch.randint(size, (n,), generator=draw) for size in columns], dim=1)

    def numbers(rows: int, columns: int) -> Tensor:
        return torch.randn(rows, columns, generator=draw)

    if kind == "item":
        found: Inputs = {
            "categories": (codes(config.article_sizes), {0: "n"}),
            "state": (numbers(n, config.n_state), {0: "n"}),
        }
        features = config.n_item_features
    else:
        items = config.side_by_side(
            [nn.functional.normalize(numbers(m, config.output_dim), dim=1) for _ in range(config.ensemble_size)]
        )
        history, days = (torch.randint(size, (n, length), generator=draw) for size in (m, 500))
        mask = torch.arange(length) < torch.randint(length + 1, (n, 1), generator=draw)  # some histories are empty
        found = {
            "attributes": (codes(config.customer_sizes), {0: "n"}),
            "items": (items, {0: "m"}),
            "history": (history, {0: "n", 1: "length"}),
            "days_since": (days, {0: "n", 1: "length"}),
            "mask": (mask, {0: "n", 1: "length"}),
        }
        features = config.n_customer_features
    if features:
        found["features"] = (numbers(n, features), {0: "n"})
    return found


def exported(tower: nn.Module, examples: Inputs) -> Any:
    """The tower as a ``torch.onnx.ONNXProgram``."""
    axes = {name: torch.export.Dim(name, min=1) for name in AXES}
    with mock.patch.object(nn.functional, "embedding_bag", gathered_bag):
        return torch.onnx.export(
            tower,
            tuple(value for value, _ in examples.values()),
            dynamo=True,
            input_names=list(examples),
            output_names=["vectors"],
            dynamic_shapes=tuple({axis: axes[name] for axis, name in named.items()} for _, named in examples.values()),
            verbose=False,
        )


def gathered_bag(
    input: Tensor,
    weight: Tensor,
    offsets: None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    mode: str = "mean",
    sparse: bool = False,
    per_sample_weights: Tensor | None = None,
    *_: Any,
) -> Tensor:
    """``embedding_bag`` of ``[n, c]`` as a lookup and a sum: the exporter would make a loop over the rows."""
    if mode != "sum" or offsets is not None or max_norm is not None:
        raise NotImplementedError("embedding_bag of this kind")
    rows = nn.functional.embedding(input, weight)
    return (rows if per_sample_weights is None else rows * per_sample_weights.unsqueeze(2)).sum(dim=1)


@contextmanager
def quiet() -> Iterator[None]:
    """Without the exporter's warnings, which are about itself."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m hm_utils.serving.export_onnx",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--model", type=Path, default=Path("artifacts/model"), help="published model (%(default)s)")
    parser.add_argument("--output", type=Path, default=Path("artifacts/onnx"), help="folder to write (%(default)s)")
    options = parser.parse_args(arguments)
    try:
        largest = export(follow(options.model), options.output)
    except (BundleError, CheckpointError, TowerError, ExportError, ImportError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    names = " and ".join(FILES.values())
    print(f"{options.output} has {names}: their vectors differ from the towers' by {largest:.1e} at most")
    return 0


if __name__ == "__main__":
    sys.exit(main())
