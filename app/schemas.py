"""What goes over the wire. Every field has its bounds here, so a handler sees valid requests alone."""

from __future__ import annotations

from typing import Annotated, Literal

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

MAX_TOP_K = 100
MAX_EXCLUDED = 1_000
MAX_HISTORY = 100
MAX_VALUES = 50  # of one filter
MAX_BATCH = 1_000

CUSTOMER = "00000dbacae5abe5e23885899a1fa44253a17956c6d1c3d25f88aa139fdfc657"
ARTICLE = "0108775015"
DRESS = "0751471001"


CustomerId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$", max_length=64)]
ArticleId = Annotated[str, StringConstraints(pattern=r"^[0-9]{10}$", max_length=10)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=100)]
Names = Annotated[list[Name], Field(min_length=1, max_length=MAX_VALUES)]
# JSON knows one kind of number, so 10.0 is a whole one; neither text nor true is a number.
WHOLE = BeforeValidator(lambda value: int(value) if isinstance(value, float) and value.is_integer() else value)
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Price = Annotated[Number, Field(ge=0)]
Flag = Annotated[int, Field(strict=True, ge=0, le=1), WHOLE]
TopK = Annotated[
    int, Field(strict=True, ge=1, le=MAX_TOP_K, description="how many articles, best first", examples=[10]), WHOLE
]


class Body(BaseModel):
    """What a client sends: an unknown field is an error, and null is as good as leaving a field out."""

    model_config = ConfigDict(extra="forbid")


class Seen(Body):
    """An article of somebody's history."""

    article_id: ArticleId = Field(examples=[ARTICLE])
    days_ago: Annotated[
        int, Field(strict=True, ge=0, le=10_000, description="0 is the visit under way", examples=[3]), WHOLE
    ] = 0


Entry = Annotated[
    Annotated[ArticleId, Tag("id")] | Annotated[Seen, Tag("seen")],
    Discriminator(lambda value: "id" if isinstance(value, str) else "seen"),
]


class CustomerAttributes(Body):
    """What is known of somebody; values as in the customers' table, anything may be left out."""

    age: Number | None = Field(default=None, ge=0, le=150, examples=[32])
    club_member_status: Name | None = Field(default=None, examples=["ACTIVE"])
    fashion_news_frequency: Name | None = Field(default=None, examples=["Regularly"])
    FN: Flag | None = Field(default=None, description="gets the fashion news", examples=[1])
    Active: Flag | None = Field(default=None, description="active for communication", examples=[1])
    postal_code: Name | None = Field(default=None, description="as hashed in the table", examples=["52043ee2…"])


class PriceRange(Body):
    """Both ends count; an article that was never sold has no price and is left out."""

    min: Price = Field(default=0, examples=[0.01])
    max: Price | None = Field(default=None, examples=[0.05])


class Filters(Body):
    """An article has to fit every filter, and of each one of the values, spelt as in the catalogue."""

    index_group: Names | None = Field(default=None, examples=[["Ladieswear", "Divided"]])
    product_group: Names | None = Field(default=None, examples=[["Garment Full body"]])
    product_type: Names | None = Field(default=None, examples=[["Dress"]])
    colour_group: Names | None = Field(default=None, examples=[["Black"]])
    section: Names | None = Field(default=None, examples=[["Womens Everyday Collection"]])
    price: PriceRange | None = Field(
        default=None, description="in the data's own unit: mean price paid", examples=[{"max": 0.05}]
    )


class RecommendRequest(Body):
    """Somebody, and how many articles to recommend.

    Somebody is a customer of the model (`customer_id`), or anybody told by `history` and `customer`, or a customer
    who just did something (`customer_id` and `history`).
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
        default=None, description="64 lower-case hexadecimal digits", examples=[CUSTOMER]
    )
    top_k: TopK = 10
    exclude_items: list[ArticleId] = Field(
        default=[],
        max_length=MAX_EXCLUDED,
        description="articles to leave out, the next best in their place; one that is not in the catalogue is ignored",
        examples=[[ARTICLE]],
    )
    history: list[Entry] | None = Field(
        default=None,
        max_length=MAX_HISTORY,
        description="what somebody bought, clicked or put into the basket, newest last, beside what the model knows; "
        "an article alone is of the visit under way, and those are not recommended. One that is not in the catalogue "
        "is ignored",
        examples=[[ARTICLE]],
    )
    customer: CustomerAttributes | None = Field(
        default=None, description="attributes of somebody unknown, or instead of those that the model knows"
    )
    filters: Filters | None = Field(
        default=None, description="the best articles among those that fit: as many as there are, and none if none fits"
    )
    exclude_purchased: bool = Field(
        default=False, strict=True, description="leave out everything that the customer bought before", examples=[True]
    )
    diversity: Number = Field(
        default=0,
        ge=0,
        le=1,
        description="0 is by score alone, 1 avoids what looks like the articles before it (maximal marginal relevance)",
        examples=[0.3],
    )
    include: list[Literal["details", "reasons"]] = Field(
        default=[],
        max_length=2,
        description="`details`: name, type, colour, price; `reasons`: the articles of the history that lift it most",
        examples=[["details", "reasons"]],
    )

    @model_validator(mode="after")
    def somebody(self) -> RecommendRequest:
        if not self.model_fields_set & {"customer_id", "history", "customer"}:
            raise ValueError(
                "Send customer_id, history or customer; null or an empty history is somebody of whom nothing is known"
            )
        return self


class BatchRequest(Body):
    """Customers of the model, and how many articles for each."""

    customer_ids: list[CustomerId] = Field(min_length=1, max_length=MAX_BATCH, examples=[[CUSTOMER]])
    top_k: TopK = 10


class ArticleDetails(BaseModel):
    """What the catalogue says of an article; null where it says nothing."""

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
    new_in_shop: bool = Field(description="first sold in the last 14 days that the model knows", examples=[False])


class Article(ArticleDetails):
    """An article of the catalogue."""

    article_id: str = Field(description="10 digits, the leading zero kept", examples=[ARTICLE])


class Articles(BaseModel):
    """Articles that words find, the best-selling first."""

    articles: list[Article]
    count: int = Field(description="the length of articles", examples=[1])


class SimilarArticle(Article):
    """An article, and how close its taste is."""

    cosine: float = Field(examples=[0.87])


class SimilarArticles(BaseModel):
    """The articles whose taste is closest, best first."""

    article_id: str = Field(description="as asked", examples=[ARTICLE])
    similar: list[SimilarArticle]
    count: int = Field(description="the length of similar", examples=[1])


class Purchase(BaseModel):
    """An article that a customer bought on a day."""

    article_id: str = Field(examples=[ARTICLE])
    date: str = Field(examples=["2020-09-22"])
    days_ago: int = Field(description="before the day after the model's last", examples=[1])
    price: float = Field(description="paid", examples=[0.008])
    details: ArticleDetails


class Customer(BaseModel):
    """What the model knows of a customer."""

    customer_id: str = Field(description="as asked", examples=[CUSTOMER])
    attributes: dict[str, str | float | None] = Field(
        description="as in the customers' table", examples=[{"age": 49.0, "club_member_status": "ACTIVE"}]
    )
    purchases: list[Purchase] = Field(description="the latest ones, newest first")
    count: int = Field(description="of all their purchases", examples=[1])


class FilterValues(BaseModel):
    """The values that each filter can have."""

    filters: dict[str, list[str]] = Field(examples=[{"colour_group": ["Black", "White"]}])


class Recommendation(BaseModel):
    """One article of the list."""

    article_id: str = Field(description="10 digits, the leading zero kept", examples=[ARTICLE])
    score: float = Field(
        description="the model's: scaled cosine, popularity and repurchase; falls with rank unless diversity is asked",
        examples=[11.234],
    )
    rank: int = Field(description="1 is the best", examples=[1])
    details: ArticleDetails | None = Field(default=None, description="if included")
    reasons: list[str] | None = Field(
        default=None,
        description="if included: of the history, what the score would lose most without",
        examples=[[ARTICLE]],
    )


class RecommendResponse(BaseModel):
    """The articles, best first."""

    customer_id: str | None = Field(description="as asked; null without", examples=[CUSTOMER])
    recommendations: list[Recommendation]
    count: int = Field(description="the length of recommendations", examples=[1])


class BatchResponse(BaseModel):
    """A list for every customer that the model knows, in the order asked."""

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
