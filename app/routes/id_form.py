"""Ids of requests. The schemas accept any text; a model of H&M's data has ids of H&M's form, and refuses others."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from fastapi.exceptions import RequestValidationError

from hm_utils.data.ids import HM_ARTICLE, HM_CUSTOMER

if TYPE_CHECKING:
    from app.schemas import RecommendRequest
    from hm_utils.serving.recommender import Recommender

Place = tuple[str | int, ...]
ARTICLE, CUSTOMER = re.compile(f"^{HM_ARTICLE}$"), re.compile(f"^{HM_CUSTOMER}$")
CUSTOMER_START = re.compile("^[0-9a-f]{1,64}$")


def check_form(model: Recommender, form: re.Pattern[str], ids: Iterable[tuple[Place, str]]) -> None:
    """Raise RequestValidationError (422) with the places of the ids that cannot be this model's."""
    if model.hm_ids and (wrong := [place for place, text in ids if not form.fullmatch(text)]):
        message = f"String should match pattern '{form.pattern}'"
        raise RequestValidationError(
            [{"type": "string_pattern_mismatch", "loc": place, "msg": message} for place in wrong]
        )


def check_request(model: Recommender, body: RecommendRequest) -> None:
    """:func:`check_form` of every id in a request."""
    if body.customer_id is not None:
        check_form(model, CUSTOMER, [(("body", "customer_id"), body.customer_id)])
    if body.exclude_items:
        check_form(model, ARTICLE, [(("body", "exclude_items", i), text) for i, text in enumerate(body.exclude_items)])
    if body.history:
        entries = [
            (("body", "history", i, "id"), entry)
            if isinstance(entry, str)
            else (("body", "history", i, "seen", "article_id"), entry.article_id)
            for i, entry in enumerate(body.history)
        ]
        check_form(model, ARTICLE, entries)
