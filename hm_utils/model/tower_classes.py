"""Tower classes of one's own, named ``package.module:Class``.

A checkpoint names the classes of its towers. A file must not decide what Python imports: a name is imported only if
this process was told the same name, by a caller of :func:`tower_name` or in the environment variable ``HM_TOWERS``.
"""

from __future__ import annotations

import importlib
import os
import re

import torch.nn.functional as F
from torch import Tensor, nn

ALLOWED = "HM_TOWERS"  # names, separated by commas
NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", re.ASCII)

_known: dict[str, type[nn.Module]] = {}


class TowerError(ValueError):
    """A tower class cannot be used; the message says why and what to do."""


def tower_name(tower: str | type[nn.Module]) -> str:
    """The name of a tower class, which this process may use from now on; empty for the project's own class.

    Args:
        tower: a class, or its name ``package.module:Class``, which is imported.

    Raises:
        TowerError: there is no such class, or it is no ``torch.nn.Module``.
    """
    if isinstance(tower, str):
        if tower:
            _known[tower] = _imported(tower)
        return tower
    _check(tower, repr(tower))
    name = f"{tower.__module__}:{tower.__qualname__}"
    _known[name] = tower
    return name


def tower_class(name: str) -> type[nn.Module]:
    """The class of a name, if this process was told the name.

    Raises:
        TowerError: it was not, or as :func:`tower_name`.
    """
    if name not in _known:
        if name not in [each.strip() for each in os.environ.get(ALLOWED, "").split(",")]:
            raise TowerError(
                f"the model names the tower class {name!r:.200}, and a file may not choose what is imported. If you "
                f"trust this class, set {ALLOWED} to its name, or in a notebook the parameter user_tower or item_tower"
            )
        _known[name] = _imported(name)
    return _known[name]


def _imported(name: str) -> type[nn.Module]:
    if not NAME.fullmatch(name):
        raise TowerError(f"a tower class is named package.module:Class, not {name!r:.200}")
    module, _, attribute = name.partition(":")
    if module == "__main__":
        raise TowerError(f"{name} is a class of a notebook, which no other process has: move it into a module")
    try:
        found = getattr(importlib.import_module(module), attribute, None)
    except Exception as error:  # of the module's own code, too
        raise TowerError(
            f"the module of the tower class {name} cannot be imported ({type(error).__name__}: {error}). Install it, "
            "or put its file beside hm_utils"
        ) from error
    return _check(found, name)


def _check(tower: object, name: str) -> type[nn.Module]:
    if not (isinstance(tower, type) and issubclass(tower, nn.Module)):
        raise TowerError(f"{name} is no class derived from torch.nn.Module")
    return tower


def unit_vectors(vectors: Tensor, shape: tuple[int, int], tower: nn.Module) -> Tensor:
    """The vectors of a tower of one's own, scaled to length one.

    Raises:
        TowerError: they are not of this ``shape``.
    """
    if vectors.shape != shape:
        raise TowerError(
            f"{type(tower).__name__}.forward must return a tensor [n, output_dim], here {list(shape)}, "
            f"and returned {list(vectors.shape)}"
        )
    return F.normalize(vectors, dim=1)
