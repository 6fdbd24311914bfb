"""Request and response bodies. Every request field has its bounds here, so handlers see only valid requests."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import Path
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    model_validator,
)

from hm_utils.data import ids

MAX_TOP_K = 100
MAX_EXCLUDED = 1_000
MAX_HISTORY = 100
MAX_VALUES = 50  # per filter
MAX_BATCH = 1_000

CUSTOMER = "00000dbacae5abe5e23885899a1fa44253a17956c6d1c3d25f88aa139fdfc657"
ARTICLE = "0108775015"
DRESS = "0751471001"


# Any text. A model of H&M's data accepts ids of H&M's form alone, see app.routes.id_form.
CustomerId = Annotated[str, StringConstraints(pattern=f"^{ids.ANY}$", max_length=ids.MAX_LENGTH)]
ArticleId = CustomerId
ArticleInPath = Annotated[ArticleId, Path(description="as in the data; H&M's have 10 digits", examples=[ARTICLE])]
Name = Annotated[str, StringConstraints(min_length=1, max_length=100)]
Names = Annotated[list[Name], Field(min_length=1, max_length=MAX_VALUES)]
# JSON has one number type, so 10.0 is valid for an integer. Strings and booleans are not.
WHOLE = BeforeValidator(lambda value: int(value) if isinstance(value, float) and value.is_integer() else value)
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Price = Annotated[Number, Field(ge=0)]
Flag = Annotated[int, Field(strict=True, ge=0, le=1), WHOLE]
TopK = Annotated[
    int, Field(strict=True, ge=1, le=MAX_TOP_K, description="number of articles, best first", examples=[10]), WHOLE
]


class Body(BaseModel):
    """A request body. Unknown fields are errors; null means the same as a missing field."""

    model_config = ConfigDict(extra="forbid")


class HistoryEntry(Body):
    """An article that the customer bought, clicked or put into the basket."""

    article_id: ArticleId = Field(examples=[ARTICLE])
    days_ago: Annotated[
        int, Field(strict=True, ge=0, le=10_000, description="0 is the current visit", examples=[3]), WHOLE
    ] = 0


Entry = Annotated[
    Annotated[ArticleId, Tag("id")] | Annotated[HistoryEntry, Tag("seen")],
    Discriminator(lambda value: "id" if isinstance(value, str) else "seen"),
]


class CustomerAttributes(Body):
    """Attributes with values as in the customers' table; all are optional."""

    age: Number | None = Field(default=None, ge=0, le=150, examples=[32])
    club_member_status: Name | None = Field(default=None, examples=["ACTIVE"])
    fashion_news_frequency: Name | None = Field(default=None, examples=["Regularly"])
    FN: Flag | None = Field(default=None, description="receives the fashion news", examples=[1])
    Active: Flag | None = Field(default=None, description="accepts communication", examples=[1])
    postal_code: Name | None = Field(default=None, description="hashed, as in the table", examples=["52043ee2…"])
    other: dict[Name, Name] | None = Field(
        default=None,
        max_length=MAX_VALUES,
        description="further columns of the customers' table that the model was trained with; others are ignored",
        examples=[{"loyalty": "gold"}],
    )


class PriceRange(Body):
    """Inclusive at both ends. An article that was never sold has no price and is excluded."""

    min: Price = Field(default=0, examples=[0.01])
    max: Price | None = Field(default=None, examples=[0.05])


class Filters(Body):
    """An article must match every filter, by any one of its values. Values are spelt as in the catalogue."""

    index_group: Names | None = Field(default=None, examples=[["Ladieswear", "Divided"]])
    product_group: Names | None = Field(default=None, examples=[["Garment Full body"]])
    product_type: Names | None = Field(default=None, examples=[["Dress"]])
    colour_group: Names | None = Field(default=None, examples=[["Black"]])
    section: Names | None = Field(default=None, examples=[["Womens Everyday Collection"]])
    price: PriceRange | None = Field(
        default=None, description="mean price paid, in the unit of the data", examples=[{"max": 0.05}]
    )


class RecommendRequest(Body):
    """A customer, and the number of articles to recommend.

    The customer is known to the model (`customer_id`), described by the request (`history`, `customer`), or known with
    new events (`customer_id` and `history`).
    """

    model_config = ConfigDict(
        json_schema_extra={
            "anyOf": [{"required": [name]} for name in ("customer_id", "history", "customer")],
            "examples": [
                {"customer_id": CUSTOMER, "top_k": 10, "exclude_items": [ARTICLE]},
                {"history": [ARTICLE, {"article_id": DRESS, "days_ago": 3}], "customer": {"age": 32}, "top_k": 10},
            ],
        },
    )

    customer_id: CustomerId | None = Field(
        default=None, description="as in the data; H&M's have 64 lower-case hexadecimal digits", examples=[CUSTOMER]
    )
    top_k: TopK = 10
    exclude_items: list[ArticleId] = Field(
        default=[],
        max_length=MAX_EXCLUDED,
        description="articles to exclude; the next best take their place. Unknown ids are ignored",
        examples=[[ARTICLE]],
    )
    history: list[Entry] | None = Field(
        default=None,
        max_length=MAX_HISTORY,
        description="articles bought, clicked or put into the basket, newest last, in addition to the history that the "
        "model has. A plain id belongs to the current visit, whose articles are not recommended. Unknown ids are "
        "ignored",
        examples=[[ARTICLE]],
    )
    customer: CustomerAttributes | None = Field(
        default=None, description="attributes of a new customer; for a known one they replace the stored attributes"
    )
    filters: Filters | None = Field(
        default=None, description="only matching articles are ranked. The answer is shorter than top_k if fewer match"
    )
    exclude_purchased: bool = Field(
        default=False, strict=True, description="exclude every article that the customer bought before", examples=[True]
    )
    diversity: Number = Field(
        default=0,
        ge=0,
        le=1,
        description="0 ranks by score alone, 1 avoids articles similar to better ones (maximal marginal relevance)",
        examples=[0.3],
    )
    ranking: Literal["published", "two-tower", "best-sellers"] = Field(
        default="published",
        description="to compare with: `two-tower` has the towers' scores as they were trained, without buying again; "
        "`best-sellers` those of the last days, the same for everybody",
        examples=["published"],
    )
    include: list[Literal["details", "reasons", "total"]] = Field(
        default=[],
        max_length=3,
        description="`details`: name, type, colour, price; `reasons`: the history's articles that raise the score "
        "most; `total`: the number of articles that were ranked",
        examples=[["details", "reasons"]],
    )

    @model_validator(mode="after")
    def describes_a_customer(self) -> RecommendRequest:
        if not self.model_fields_set & {"customer_id", "history", "customer"}:
            raise ValueError(
                "Send customer_id, history or customer; null or an empty history means that nothing is known"
            )
        return self


class BatchRequest(Body):
    """Customers of the model, and the number of articles for each."""

    customer_ids: list[CustomerId] = Field(min_length=1, max_length=MAX_BATCH, examples=[[CUSTOMER]])
    top_k: TopK = 10


class ArticleDetails(BaseModel):
    """An article's entry in the catalogue; null where a value is missing."""

    name: str | None = Field(examples=["Strap top"])
    index_group: str | None = Field(examples=["Ladieswear"])
    product_group: str | None = Field(examples=["Garment Upper body"])
    product_type: str | None = Field(examples=["Vest top"])
    colour_group: str | None = Field(examples=["Black"])
    section: str | None = Field(examples=["Womens Everyday Basics"])
    appearance: str | None = Field(examples=["Solid"])
    department: str | None = Field(examples=["Jersey Basic"])
    description: str | None = Field(examples=["Jersey top with narrow shoulder straps."])
    price: float | None = Field(description="mean price paid; null before the first sale", examples=[0.008])
    new_in_shop: bool = Field(description="first sold in the last 14 days of the model's data", examples=[False])


class Article(ArticleDetails):
    """An article of the catalogue."""

    article_id: str = Field(description="as in the data; H&M's have 10 digits, a zero first", examples=[ARTICLE])


class Articles(BaseModel):
    """Articles found by words."""

    articles: list[Article]
    count: int = Field(description="the length of articles", examples=[1])
    match: Literal["words", "meaning"] = Field(
        description="`words`: they have every word, best-selling first; `meaning`: no article has, and these answer "
        "some of the words, or words that mean the same, best answers first",
        examples=["words"],
    )


class SimilarArticle(Article):
    """An article, and the cosine similarity of its embedding."""

    cosine: float = Field(examples=[0.87])


class SimilarArticles(BaseModel):
    """The articles with the closest embeddings, best first."""

    article_id: str = Field(description="as requested", examples=[ARTICLE])
    similar: list[SimilarArticle]
    count: int = Field(description="the length of similar", examples=[1])


class Purchase(BaseModel):
    """One purchased article."""

    article_id: str = Field(examples=[ARTICLE])
    date: str = Field(examples=["2020-09-22"])
    days_ago: int = Field(description="counted from the day after the model's last day", examples=[1])
    price: float | None = Field(description="the price paid; null if the data have no prices", examples=[0.008])
    details: ArticleDetails


class Customer(BaseModel):
    """A customer, as the model knows them."""

    customer_id: str = Field(description="as requested", examples=[CUSTOMER])
    attributes: dict[str, str | float | None] = Field(
        description="as in the customers' table", examples=[{"age": 49.0, "club_member_status": "ACTIVE"}]
    )
    purchases: list[Purchase] = Field(description="the latest purchases, newest first")
    count: int = Field(description="the number of all their purchases", examples=[1])


class FilterValues(BaseModel):
    """The values of each filter."""

    filters: dict[str, list[str]] = Field(examples=[{"colour_group": ["Black", "White"]}])


class Recommendation(BaseModel):
    """One recommended article."""

    article_id: str = Field(description="as in the data; H&M's have 10 digits, a zero first", examples=[ARTICLE])
    score: float = Field(
        description="scaled cosine plus popularity and repurchase terms; falls with rank unless diversity is requested",
        examples=[11.234],
    )
    rank: int = Field(description="1 is the best", examples=[1])
    details: ArticleDetails | None = Field(default=None, description="if requested by include")
    reasons: list[str] | None = Field(
        default=None,
        description="if requested by include: the articles of the history whose removal lowers the score most",
        examples=[[ARTICLE]],
    )


class RecommendResponse(BaseModel):
    """The recommended articles, best first."""

    customer_id: str | None = Field(description="as requested; null without one", examples=[CUSTOMER])
    recommendations: list[Recommendation]
    count: int = Field(description="the length of recommendations", examples=[1])
    total: int | None = Field(
        default=None,
        description="if requested by include: the articles that pass the filters and are not excluded",
        examples=[105_542],
    )


class BatchResponse(BaseModel):
    """Recommendations for every known customer, in the order of the request."""

    results: list[RecommendResponse]
    count: int = Field(description="the length of results", examples=[1])
    unknown: list[str] = Field(description="ids that the model does not know", examples=[[]])


class Health(BaseModel):
    """The process answers."""

    status: Literal["ok"] = "ok"


class Ready(BaseModel):
    """A model is loaded and served."""

    status: Literal["ready"] = "ready"
    version: str = Field(examples=["20260120T101530.123456Z-1f2e3d4c"])
    data_until: str | None = Field(default=None, description="the last day of its purchases", examples=["2020-09-22"])


class Problem(BaseModel):
    """The reason why a request failed."""

    detail: str = Field(examples=["no model is published here: run `make run` to train and publish one"])


class FieldProblem(BaseModel):
    """The problem of one field."""

    loc: list[str | int] = Field(description="the field's place: body, then its name", examples=[["body", "top_k"]])
    msg: str = Field(examples=["Input should be greater than or equal to 1"])
    type: str = Field(examples=["greater_than_equal"])


class InvalidRequest(BaseModel):
    """The problems of an invalid request, ten at most."""

    detail: list[FieldProblem]
