"""The parameters that the notebooks declare in their cell tagged ``parameters``, and a check of given values.

papermill injects any name, so a misspelt one would silently change nothing. Therefore names and types are checked
against the declarations before the first notebook starts, and so are ranges::

    num_epochs = 20  # epochs at most
    device: str | None = None  # an annotation, where the default's type is not enough
"""

from __future__ import annotations

import ast
import difflib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TAG = "parameters"
ANY = ast.parse("Any", mode="eval").body


# The least value by name; a batch of one example has no negative.
LEAST = {"seed": 0, "batch_size": 2} | dict.fromkeys(
    ("num_epochs", "steps_per_epoch", "patience", "history_length", "embedding_dim", "hidden_dims", "output_dim",
     "ensemble_size", "val_days", "test_days", "train_weeks", "num_workers"), 1
)  # fmt: skip
LARGEST = 2**63 - 1  # a whole number for torch


class ParameterError(ValueError):
    """A parameter that no notebook declares, or a value that does not fit; the message says what would."""


@dataclass(frozen=True)
class Parameter:
    """One assignment of a parameters cell."""

    notebook: str  # file name without suffix: 03_training
    name: str
    default: Any
    type: ast.expr

    @property
    def type_name(self) -> str:
        return ast.unparse(self.type)

    def fit(self, value: Any) -> Any:
        """The value in this parameter's type: text is parsed, and a whole number becomes a float.

        Raises:
            ParameterError: the value does not fit.
        """
        candidates = _readings(value) if isinstance(value, str) else [value]
        for candidate in candidates:
            if _accepts(self.type, candidate):
                self._check_range(candidate)
                return float(candidate) if _is_float(self.type, candidate) else candidate
        raise ParameterError(f"{self.name} must be {self.type_name} (e.g. {self.default!r}), got {value!r}")

    def _check_range(self, value: Any) -> None:
        least = LEAST.get(self.name)
        numbers = value if isinstance(value, list) else [value]
        if least is not None and not all(number is None or least <= number <= LARGEST for number in numbers):
            raise ParameterError(f"{self.name} must be {least} or more, got {value!r}")
        if self.name == "learning_rate" and not value > 0:
            raise ParameterError(f"{self.name} must be above 0, got {value!r}")
        if self.name in ("item_features", "customer_features") and value and not Path(value).is_file():
            raise ParameterError(f"{self.name}: there is no file {value}")
        if self.name in ("user_tower", "item_tower") and value:
            from hm_utils.model.tower_classes import TowerError, tower_name  # imported here: torch takes seconds

            try:
                tower_name(value)
            except TowerError as error:
                raise ParameterError(f"{self.name}: {error}") from error
        if self.name == "publish_if":
            from hm_utils.evaluation.decision import PUBLISH_IF  # imported here: pandas takes a second

            if value not in PUBLISH_IF:
                raise ParameterError(f"{self.name} must be one of {', '.join(map(repr, PUBLISH_IF))}, got {value!r}")
        if self.name == "device" and value not in ("auto", "cpu"):
            from hm_utils.training.loop import resolve_device  # imported here: torch takes seconds

            try:
                resolve_device(value)
            except ValueError as error:
                raise ParameterError(str(error)) from error


def check_engine(effective: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Raise ParameterError if the given ``engine`` and ``num_workers`` cannot be used together, or not here."""
    chosen = {name: effective[name] for name in ("engine", "num_workers") if name in effective}
    if chosen.keys() & given.keys() and "engine" in chosen:
        from hm_utils import engines  # imported here: torch takes seconds
        from hm_utils.cluster import ClusterError

        try:
            engines.choose(**chosen)
        except (ValueError, ClusterError) as error:
            raise ParameterError(str(error)) from error


def declared_parameters(path: Path) -> dict[str, Parameter]:
    """The parameters of a notebook by name; empty if no cell is tagged ``parameters``.

    Raises:
        ParameterError: two cells are tagged, or a line is not ``name = literal`` or ``name: type = literal``.
    """
    try:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    except (ValueError, KeyError, TypeError) as error:
        raise ParameterError(f"{path} is not a notebook: {error}") from error
    tagged = [cell for cell in cells if TAG in cell["metadata"].get("tags", [])]
    if len(tagged) > 1:
        raise ParameterError(f"{path} has {len(tagged)} cells tagged {TAG!r}: one is needed")
    found: dict[str, Parameter] = {}
    for statement in ast.parse("".join(tagged[0]["source"])).body if tagged else []:
        annotation: ast.expr | None
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                annotation = None
            case ast.AnnAssign(target=ast.Name(id=name), annotation=stated, value=ast.expr() as value):
                annotation = stated
            case _:
                raise ParameterError(f"{path}: {ast.unparse(statement)!r} in the {TAG} cell declares no parameter")
        try:
            default = ast.literal_eval(value)
        except ValueError as error:
            raise ParameterError(
                f"{path}: the default of {name} must be a literal, not {ast.unparse(value)}"
            ) from error
        found[name] = Parameter(path.stem, name, default, annotation or _type_of(default))
    return found


def check(notebooks: Iterable[Path], given: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The given values that each notebook declares: ``{notebook: {name: value}}``.

    Raises:
        ParameterError: one line for every unknown name and every value that does not fit.
    """
    declared = {path.stem: declared_parameters(path) for path in notebooks}
    known = sorted({name for parameters in declared.values() for name in parameters})
    wrong: dict[str, list[str]] = {}
    result: dict[str, dict[str, Any]] = {notebook: {} for notebook in declared}
    for name, value in given.items():
        if name not in known:
            near = " or ".join(difflib.get_close_matches(name, known, n=2))
            wrong[f"unknown parameter {name}" + (f": did you mean {near}?" if near else "")] = []
        for notebook, parameters in declared.items():
            if name in parameters:
                try:
                    result[notebook][name] = parameters[name].fit(value)
                except ParameterError as error:
                    wrong.setdefault(str(error), []).append(notebook)
    if wrong:
        lines = [f"{', '.join(where)}: {message}" if where else message for message, where in wrong.items()]
        if any(not where for where in wrong.values()):
            lines.append(f"{', '.join(declared)} declare: {', '.join(known) or 'nothing'}")
        raise ParameterError("\n".join(lines))
    return result


def _type_of(default: Any) -> ast.expr:
    """The type of a default: ``list[int]`` for ``[256, 128]``, any type for ``None``."""
    if default is None:
        return ANY
    name = type(default).__name__
    if isinstance(default, list | tuple):
        kinds = {type(item).__name__ for item in default}
        name = f"list[{kinds.pop()}]" if len(kinds) == 1 else "list"
    return ast.parse(name, mode="eval").body


def _readings(text: str) -> list[Any]:
    """Every value that the text could mean, the most specific first."""
    word = text.strip()
    readings: list[Any] = []
    words = {"none": None, "null": None, "true": True, "false": False}
    if word.lower() in words:
        readings.append(words[word.lower()])
    for read in (int, float, json.loads, ast.literal_eval):
        try:
            readings.append(read(word))
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            continue
    names = [part.strip() for part in word.strip("[]").split(",")]
    return [*readings, text, [name for name in names if name]]


def _accepts(kind: ast.expr, value: Any) -> bool:
    match kind:
        case ast.BinOp(op=ast.BitOr(), left=left, right=right):
            return _accepts(left, value) or _accepts(right, value)
        case ast.Subscript(value=ast.Name(id="Optional"), slice=inner):
            return value is None or _accepts(inner, value)
        case ast.Subscript(value=ast.Name(id="list" | "tuple"), slice=inner):
            return isinstance(value, list | tuple) and all(_accepts(inner, item) for item in value)
        case ast.Subscript(value=outer):
            return _accepts(outer, value)
        case ast.Constant(value=None):
            return value is None
        case ast.Name(id="Any"):
            return True
        case ast.Name(id="float"):
            return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        case ast.Name(id="int"):
            return isinstance(value, int) and not isinstance(value, bool)
        case ast.Name(id=name):
            return type(value).__name__ == name
    return False


def _is_float(kind: ast.expr, value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and isinstance(kind, ast.Name) and kind.id == "float"
