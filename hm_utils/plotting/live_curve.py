"""A learning curve that grows while a cell trains, for a reader in Jupyter; reports have the final figure instead."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
from IPython import get_ipython
from IPython.display import HTML, display

from hm_utils.plotting.training_figures import learning_curves

History = list[dict[str, float]]


def live_curve() -> Callable[[History, int], None] | None:
    """Draws the epochs so far, with the best one, in place of its last drawing; None where nobody watches."""
    if not _is_watched():
        return None
    shown = display(HTML("<p>The first epoch is under way.</p>"), display_id=True)

    def draw(history: History, best_epoch: int) -> None:
        shown.update(learning_curves(pd.DataFrame(history), best_epoch))

    return draw


def _is_watched() -> bool:
    """Whether the cell was started by somebody who could answer a question: papermill says that nobody can."""
    kernel: Any = getattr(get_ipython(), "kernel", None)
    if kernel is None:
        return False
    request = kernel.get_parent("shell").get("content", {})
    return bool(request.get("allow_stdin", False))
