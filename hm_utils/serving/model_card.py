"""The model card of a published model: what it is for, how good it is and for whom, and what speaks against it.

The sections are those of Mitchell et al., "Model Cards for Model Reporting" (FAT* 2019). Every number is one of the
manifest's.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from hm_utils.data.origin import data_line

COLUMNS = ("MAP@12", "recall@100")
UNSAFE = re.compile(r"[^\w\s.,:/-]")  # a folder's name is the user's text
AGES = ("aged ", "age unknown")  # how the names of slices by age begin
FOOTER = "This card is computed from the manifest of the model when it is published."


def model_card(facts: Mapping[str, Any], days: int) -> str:
    """The card as Markdown.

    Args:
        facts: ``data``, ``parameters`` and ``metrics`` of the manifest, see :func:`hm_utils.serving.publishing`.
        days: length of the log.
    """
    data, metrics, parameters = facts["data"], facts["metrics"], facts["parameters"]
    test, decision = metrics["held_out_test"], metrics["decision"]
    counts, published = data["counts"], metrics["ranking"]
    held_out = parameters["preprocessing"]["test_days"]
    line = data_line(data["origin"], counts["customers"], counts["articles"], days)
    sections = {
        "Model": [
            "A two-tower model (PyTorch) that maps articles and customers to unit vectors, with the popularity of the "
            "last days and a model of buying again. It ranks the whole catalogue for a customer.",
        ],
        "Data": [
            f"{UNSAFE.sub(' ', line)}, until {data['last_date']}; {counts['purchases']:,} purchases. "
            f"Fingerprint of the raw tables: `{data['raw_fingerprint'][:16]}`.",
        ],
        "Use": [
            "**For**: choosing the articles that a shop shows to its customers, from their purchases.",
            "**Not for**: decisions about people, prices for a person, other shops' catalogues, or what a customer "
            "needs. It learns what was bought, not what pleased. An article that was not for sale cannot be judged.",
        ],
        "Quality": [
            f"On the {held_out} days held out, over all {test['customers']:,} customers who bought then, "
            "ranking the whole catalogue. The brackets hold 95 % intervals of a bootstrap over customers.",
            _table(
                ["ranking", *COLUMNS],
                [
                    [_bold(name, name == published), *(_cell(row[column]) for column in COLUMNS)]
                    for name, row in test["rankings"].items()
                ],
            ),
            "These numbers are the estimate of the published model's quality, which no days are left to measure. "
            + (
                "It was trained again on all days."
                if data["parent"] is None
                else f"Its towers are those of version `{data['parent']}`, with newer purchases."
            ),
        ],
        "For whom": [
            _table(
                ["customers or purchases", "customers", *COLUMNS],
                [
                    [name, f"{part['customers']:,}", *(_cell(part["rankings"][published][c]) for c in COLUMNS)]
                    for name, part in test["slices"].items()
                ],
            ),
            _ages(test, published),
        ],
        "What speaks against it": [f"{decision['reason']}.", _items(decision["against"] or ["Nothing measured."])],
        "New customers and articles": [
            "A customer without purchases gets the best-sellers, unless the towers rank significantly better from "
            "attributes alone. One purchase, or a basket in the request, makes the ranking personal. A new article "
            "has a vector from its categories and price before its first sale.",
        ],
        "Limits": [
            _items(
                [
                    "The intervals cover the choice of customers, not another season, and not another training.",
                    "Who bought before sees more of the same. Diversity and filters are the request's.",
                    "Stock is unknown to the model. Exclude what cannot be bought.",
                    "Purchases are personal data. Vectors and histories are stored for every customer.",
                ]
            ),
        ],
        "Make it again": [
            '```bash\nmake run DATA_DIR=… PARAMS="' + _parameters(parameters) + '"\n```',
            f"Validation chose {parameters['training']['num_epochs']} epochs. "
            f"Index: {metrics['index']['kind']}, which finds {metrics['index']['recall@100']:.1%} of exact search's "
            "first hundred. The manifest has the versions of the libraries and a checksum of every file.",
        ],
    }
    text = "\n\n".join(f"## {title}\n\n" + "\n\n".join(parts) for title, parts in sections.items())
    return f"# Model card\n\n{text}\n\n{FOOTER}\n"


def _ages(test: Mapping[str, Any], published: str) -> str:
    """Whether customers of an age are served much worse than all: where the interval lies below everybody's mean."""
    everyone = test["rankings"][published]["MAP@12"]["mean"]
    bands = {
        name: part["rankings"][published]["MAP@12"]
        for name, part in test["slices"].items()
        if name.startswith(AGES) and part["rankings"][published]["MAP@12"]["high"] is not None
    }
    if not bands:
        return "Ages are unknown, or too few customers have one to compare."
    worse = [f"“{name}” ({value['mean']:.4f})" for name, value in bands.items() if value["high"] < everyone]
    if worse:
        return f"By MAP@12, significantly below everybody's {everyone:.4f}: {', '.join(worse)}."
    lowest = min(bands, key=lambda name: bands[name]["mean"])
    return (
        f"By MAP@12, no age is significantly below everybody's {everyone:.4f}. "
        f"The lowest is “{lowest}” with {bands[lowest]['mean']:.4f}."
    )


def _parameters(parameters: Mapping[str, Mapping[str, Any]]) -> str:
    """The parameters as the pipeline takes them; of the seeds, the training's."""
    preprocessing = {name: parameters["preprocessing"][name] for name in ("val_days", "test_days", "train_weeks")}
    training = {name: value for name, value in parameters["training"].items() if name != "num_epochs"}
    for name in ("article_columns", "customer_columns"):
        if columns := parameters["preprocessing"].get(name):
            preprocessing[name] = UNSAFE.sub(" ", ",".join(columns))
    every = {**preprocessing, **training, "publish_if": parameters["evaluation"]["publish_if"]}
    return " ".join(f"-p {name} {_quoted(value)}" for name, value in every.items())


def _quoted(value: object) -> str:
    text = str(value)
    return f"'{text}'" if " " in text else text


def _cell(value: Mapping[str, float | None]) -> str:
    mean, low, high = value["mean"], value["low"], value["high"]
    if mean is None or math.isnan(mean):
        return "–"
    return f"{mean:.4f}" if low is None or high is None else f"{mean:.4f} [{low:.4f}, {high:.4f}]"


def _bold(text: str, bold: bool) -> str:
    return f"**{text}**" if bold else text


def _items(lines: list[str] | tuple[str, ...]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
