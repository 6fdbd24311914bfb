"""Two models side by side for one customer, with the drawings of the service's page."""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ipywidgets

import hm_utils
from hm_utils.lab.tables import TableRecommender

# The page is installed beside this package. Its drawings are read as files: the library imports nothing of the service.
PAGE = Path(hm_utils.__file__).parents[1] / "app" / "static"
DRAWING = "garments.js"
IMPORT = re.compile(r'(?<=\bfrom ")\./([\w.]+)(?=")')
ANY = "any"
COLUMNS = 3  # cards beside each other, for each model
CARD_HEIGHT = 150  # pixels

STYLE = """
  :root { color-scheme: light; }
  body { margin: 0; padding: 8px; background: #fff; font: 12px/1.35 system-ui, sans-serif; display: grid;
    grid-template-columns: 1fr 1fr; gap: 24px; }
  h2 { font-size: 14px; margin: 4px 0 8px; }
  ol { list-style: none; margin: 0; padding: 0; display: grid; gap: 10px; grid-template-columns: repeat(3, 1fr); }
  li { overflow: hidden; }
  svg { width: 76px; display: block; }
  b, small { display: block; white-space: nowrap; overflow: hidden; text-overflow: ellipsis; }
  .seam { fill: none; stroke-width: 1.1; stroke-linecap: round; stroke-linejoin: round; }
  .outline { fill: none; stroke: #3a332c66; stroke-width: 1.1; }
"""
SCRIPT = """
  import { garment } from "garments.js";
  for (const model of JSON.parse(document.getElementById("data").textContent)) {
    const section = document.createElement("section"), list = document.createElement("ol");
    section.append(Object.assign(document.createElement("h2"), { textContent: model.title }), list);
    for (const article of model.articles) {
      const card = document.createElement("li");
      const lines = [["b", `${article.rank}. ${article.name ?? "Without a name"}`], ["small", article.kind],
        ["small", `score ${article.score.toFixed(2)}`]];
      card.title = article.article_id;
      card.append(garment(article),
        ...lines.map(([tag, text]) => Object.assign(document.createElement(tag), { textContent: text })));
      list.append(card);
    }
    document.body.append(section);
  }
"""


def side_by_side(
    models: Mapping[str, TableRecommender], customers: Sequence[str] | None = None, k: int = 6
) -> ipywidgets.Widget:
    """Choose a customer, two of the models, and filters; the garments of both rankings are drawn.

    Args:
        models: by the name to show.
        customers: ids to choose from, besides any that is typed; some of the first model's by default.
        k: articles of each ranking.

    Raises:
        ValueError: there are fewer than two models.
    """
    if len(models) < 2:
        raise ValueError(f"two models are needed to compare, not {len(models)}")
    first, second = list(models)[:2]
    catalogue = models[first]
    ids = list(customers if customers is not None else catalogue.customers(20).index)
    customer = ipywidgets.Combobox(value=ids[0], options=ids, description="customer", continuous_update=False)
    left = ipywidgets.Dropdown(options=list(models), value=first, description="left")
    right = ipywidgets.Dropdown(options=list(models), value=second, description="right")
    filters = {
        name: ipywidgets.Dropdown(options=[ANY, *values], description=name.replace("_", " "))
        for name, values in catalogue.filters().items()
    }
    page = ipywidgets.HTML()

    def draw(_: Any = None) -> None:
        wanted = {name: choice.value for name, choice in filters.items() if choice.value != ANY}
        chosen = [(each.value, models[each.value]) for each in (left, right)]
        try:
            page.value = frame([(name, _cards(model, customer.value, k, wanted)) for name, model in chosen], k)
        except ValueError as error:
            page.value = f"<p>{html.escape(str(error))}</p>"

    for control in (customer, left, right, *filters.values()):
        control.observe(draw, names="value")
    draw()
    rows = [ipywidgets.HBox([customer, left, right]), ipywidgets.HBox(list(filters.values()))]
    for row in rows:
        row.layout.flex_flow = "row wrap"
        for control in row.children:
            control.style.description_width = "100px"
    return ipywidgets.VBox([*rows, page])


def frame(lists: Sequence[tuple[str, list[dict[str, Any]]]], k: int) -> str:
    """Rankings beside each other as HTML: a page in a frame that can reach nothing outside.

    Args:
        lists: titles and articles: rank, score, and the details that the page draws.
        k: most articles of a list.
    """
    data = [{"title": title, "articles": articles} for title, articles in lists]
    payload = json.dumps(data, allow_nan=False).replace("<", "\\u003c")
    page = (
        f'<!doctype html><meta charset="utf-8"><style>{STYLE}</style>'
        f'<script type="importmap">{json.dumps({"imports": _modules()})}</script>'
        f'<script type="application/json" id="data">{payload}</script><script type="module">{SCRIPT}</script>'
    )
    height = 56 + -(-k // COLUMNS) * CARD_HEIGHT
    return (
        f'<iframe sandbox="allow-scripts" srcdoc="{html.escape(page)}" title="Two rankings" '
        f'style="width: 100%; min-width: 640px; height: {height}px; border: 0"></iframe>'
    )


def _modules() -> dict[str, str]:
    """The page's drawing and what it imports, as addresses that hold the code."""
    found, missing = {}, [DRAWING]
    while missing:
        name = missing.pop()
        code = (PAGE / name).read_text(encoding="utf-8")
        bare = IMPORT.sub(r"\1", code)  # an import map has no relative names
        found[name] = f"data:text/javascript;base64,{base64.b64encode(bare.encode()).decode()}"
        missing += set(IMPORT.findall(code)) - found.keys()
    return found


def _cards(
    model: TableRecommender, customer: str, k: int, filters: Mapping[str, Sequence[str]]
) -> list[dict[str, Any]]:
    """A ranking, each article with its details."""
    table, catalogue = model.for_customer(customer, k, **filters), model.recommender.catalogue
    cards = []
    for rank, row, score in zip(table.index, catalogue.rows(table["article_id"].tolist()), table["score"], strict=True):
        details = catalogue.details(row)
        kind = " · ".join(filter(None, (details["product_type"], details["colour_group"])))
        article_id = str(catalogue.ids[row])
        cards.append({**details, "article_id": article_id, "kind": kind, "rank": rank, "score": float(score)})
    return cards
