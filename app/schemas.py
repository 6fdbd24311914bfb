"""What goes over the wire. Every field has its bounds here, so a handler sees valid requests alone."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

MAX_TOP_K = 100
MAX_EXCLUDED = 1_000

CUSTOMER = "00000dbacae5abe5e23885899a1fa44253a17956c6d1c3d25f88aa139fdfc657"
ARTICLE = "0108775015"

CustomerId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$", max_length=64)]
ArticleId = Annotated[str, StringConstraints(pattern=r"^[0-9]{10}$", max_length=10)]


class RecommendRequest(BaseModel):
    """A customer, and how many articles to recommend."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"customer_id": CUSTOMER, "top_k": 10, "exclude_items": [ARTICLE]}]},
    )

    customer_id: CustomerId = Field(description="64 lower-case hexadecimal digits", examples=[CUSTOMER])
    top_k: int = Field(
        default=10, ge=1, le=MAX_TOP_K, strict=True, description="how many articles, best first", examples=[10]
    )
    exclude_items: list[ArticleId] = Field(
        default=[],
        max_length=MAX_EXCLUDED,
        description="articles to leave out, the next best in their place; one that is not in the catalogue is ignored",
        examples=[[ARTICLE]],
    )


class Recommendation(BaseModel):
    """One article of the list."""

    article_id: str = Field(description="10 digits, the leading zero kept", examples=[ARTICLE])
    score: float = Field(
        description="the model's: scaled cosine, popularity and repurchase; falls with rank", examples=[11.234]
    )
    rank: int = Field(description="1 is the best", examples=[1])


class RecommendResponse(BaseModel):
    """The articles, best first."""

    customer_id: str = Field(description="as asked", examples=[CUSTOMER])
    recommendations: list[Recommendation]
    count: int = Field(description="the length of recommendations", examples=[1])


class Health(BaseModel):
    """The process answers."""

    status: Literal["ok"] = "ok"


class Ready(BaseModel):
    """A model is loaded and served."""

    status: Literal["ready"] = "ready"
    version: str = Field(examples=["20260120T101530.123456Z-1f2e3d4c"])


class Problem(BaseModel):
    """Why a request was not answered, and what to do."""

    detail: str = Field(examples=["no model is published here: run `make run` to train and publish one"])


class FieldProblem(BaseModel):
    """What is wrong with one field."""

    loc: list[str | int] = Field(description="where: body, then the field's name", examples=[["body", "top_k"]])
    msg: str = Field(examples=["Input should be greater than or equal to 1"])
    type: str = Field(examples=["greater_than_equal"])


class InvalidRequest(BaseModel):
    """What is wrong with a request: at most ten of its fields."""

    detail: list[FieldProblem]
