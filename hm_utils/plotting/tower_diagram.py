"""A diagram of the two towers, with the widths of the model."""

from __future__ import annotations

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from hm_utils.model.towers import ID_COLUMNS, TowerConfig
from hm_utils.plotting.style import INK, MAIN, OTHER, QUIET_INK, THIRD, WIDTH, styled


@styled
def two_towers(config: TowerConfig, history_length: int) -> Figure:
    """The inputs and outputs of each tower, and the score."""
    figure, axes = plt.subplots(figsize=(WIDTH, 4.8))
    several = f": {config.ensemble_size} such pairs, their vectors side by side" if config.ensemble_size > 1 else ""
    axes.set(title=f"Two towers, one space{several}", xlim=(-0.5, 100.5), ylim=(6, 72))
    axes.set_axis_off()
    dim, out = config.embedding_dim, config.output_dim
    hidden = " → ".join(f"{width:,}" for width in config.hidden_dims) or "none"
    categories = len(config.article_sizes) - ID_COLUMNS
    item_embeddings = f"embeddings, summed:\n{dim} of the id, {dim} of the rest"
    item_layers = f"layers: {hidden} → {out}, and a shortcut"
    user_pool = "pooled by learned weights:\nwhat it was, how long ago"
    user_layers = f"layers: {hidden} → {out}, plus the pool"
    if config.item_tower:
        item_embeddings, item_layers = "a tower of your own:", config.item_tower.partition(":")[2]
    if config.user_tower:
        user_pool, user_layers = "a tower of your own:", config.user_tower.partition(":")[2]

    axes.text(24, 69, "ITEM TOWER", color=MAIN, weight="bold", ha="center")
    axes.text(76, 69, "USER TOWER", color=OTHER, weight="bold", ha="center")
    _box(axes, 0, 56, 14, 9, "id and\nproduct", MAIN)
    _box(axes, 16, 56, 16, 9, f"{categories} categories,\nprice among them", MAIN)
    _box(axes, 34, 56, 15, 9, f"state of the day:\n{config.n_state} numbers", MAIN)
    _box(axes, 10, 43, 36, 8, item_embeddings, MAIN)
    _box(axes, 14, 31, 32, 8, item_layers, MAIN)
    _box(axes, 14, 19, 32, 8, f"article v: {out} numbers, length 1;\nsimilar articles are close", MAIN)
    for x in (7, 24, 41):
        _arrow(axes, (x, 56), (min(max(x, 14), 42), 51), MAIN)
    _arrow(axes, (32, 43), (32, 39), MAIN)
    _arrow(axes, (32, 31), (32, 27), MAIN)

    _box(axes, 54, 56, 28, 9, f"history: the last {history_length} purchases,\nas the item tower's own vectors", OTHER)
    _box(axes, 84, 56, 16, 9, f"{len(config.customer_sizes)} attributes:\nage, club, …", OTHER)
    _box(axes, 54, 43, 28, 8, user_pool, OTHER)
    _box(axes, 62, 31, 34, 8, user_layers, OTHER)
    _box(axes, 62, 19, 34, 8, f"customer u: {out} numbers, length 1", OTHER)
    _arrow(axes, (68, 56), (68, 51), OTHER)
    _arrow(axes, (74, 43), (74, 39), OTHER)
    _arrow(axes, (92, 56), (92, 39), OTHER)
    _arrow(axes, (79, 31), (79, 27), OTHER)
    _arrow(axes, (46, 23), (54, 58), MAIN)
    axes.text(51.6, 33, "same\nvectors", fontsize=8.5, color=QUIET_INK, ha="center", va="center")

    _box(axes, 35, 7, 40, 6, "score = scale × u · v  +  ½ log popularity", THIRD)
    _arrow(axes, (36, 19), (46, 13), MAIN)
    _arrow(axes, (75, 19), (64, 13), OTHER)
    return figure


def _box(axes: Axes, x: float, y: float, width: float, height: float, text: str, colour: str) -> None:
    box = FancyBboxPatch(
        (x, y), width, height, boxstyle="round,pad=0,rounding_size=1.2", linewidth=1.3, edgecolor=colour,
        facecolor=f"{colour}1a",
    )  # fmt: skip
    axes.add_patch(box)
    axes.text(x + width / 2, y + height / 2, text, ha="center", va="center", fontsize=8.5, color=INK)


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float], colour: str) -> None:
    style = {"arrowstyle": "-|>", "color": colour, "linewidth": 1.3, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", end, start, arrowprops=style)
