"""The curve in a cell that trains: where somebody watches, and nowhere else."""

from __future__ import annotations

import pytest
from matplotlib.figure import Figure

from hm_utils.plotting import live_curve


def test_a_curve_grows_only_where_somebody_watches(monkeypatch: pytest.MonkeyPatch) -> None:
    class Kernel:
        allowed = False

        def get_parent(self, channel: str) -> dict:
            return {"content": {"allow_stdin": self.allowed}}

    class Shell:
        kernel = Kernel()

    drawn: list[Figure] = []

    class Handle:
        def update(self, figure: Figure) -> None:
            drawn.append(figure)

    monkeypatch.setattr(live_curve, "get_ipython", lambda: None)
    assert live_curve.live_curve() is None, "a script"
    monkeypatch.setattr(live_curve, "get_ipython", Shell)
    assert live_curve.live_curve() is None, "papermill"
    Kernel.allowed = True
    monkeypatch.setattr(live_curve, "display", lambda *shown, display_id: Handle())
    draw = live_curve.live_curve()
    assert draw is not None
    history = [{"epoch": 1, "train_loss": 2.0, "recall@100": 0.1}, {"epoch": 2, "train_loss": 1.0, "recall@100": 0.2}]
    for epochs in (1, 2):
        draw(history[:epochs], epochs)
    assert [len(figure.axes[1].lines[0].get_xydata()) for figure in drawn] == [1, 2]  # type: ignore[arg-type]
