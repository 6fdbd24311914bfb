"""What the endpoints that the demo page needs send: of the model itself, of customers to look at, of the replay."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field, StringConstraints

from app.schemas import CUSTOMER, Article

MAX_CUSTOMERS = 20

IdPrefix = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{1,64}$", max_length=64)]


class Figure(BaseModel):
    """A mean over the customers of the test, and the 95 % interval of a bootstrap; null where there is none."""

    mean: float | None = Field(examples=[0.0386])
    low: float | None = Field(default=None, examples=[0.0372])
    high: float | None = Field(default=None, examples=[0.0401])


class Counts(BaseModel):
    """How much the model knows."""

    articles: int = Field(examples=[105_542])
    customers: int = Field(examples=[1_371_980])
    purchases: int = Field(examples=[31_788_324])


class Model(BaseModel):
    """The model that is served, and how good its like was on days that it had not seen."""

    version: str = Field(examples=["20260120T101530.123456Z-1f2e3d4c"])
    published: str | None = Field(description="when", examples=["2026-01-20T10:15:30+00:00"])
    data_from: str = Field(description="the first day of its purchases", examples=["2018-09-20"])
    data_until: str = Field(description="the last day of its purchases", examples=["2020-09-22"])
    counts: Counts
    tested_customers: int | None = Field(description="of the test; null if it is not told", examples=[68_984])
    metrics: dict[str, dict[str, Figure]] = Field(
        description="by ranking, then by metric: of the model before it was refitted on the test days, and its rivals"
    )
    replay: bool = Field(description="whether GET /replay has customers", examples=[True])
    map: bool = Field(description="whether GET /map has a map", examples=[True])
    images: bool = Field(description="whether GET /images has photos", examples=[False])


class CustomerSummary(BaseModel):
    """A customer to look at."""

    customer_id: str = Field(examples=[CUSTOMER])
    age: float | None = Field(description="null where unknown", examples=[32.0])
    purchases: int = Field(description="that they made", examples=[14])
    last_purchase: str | None = Field(description="the day; null without any", examples=["2020-09-19"])


class Customers(BaseModel):
    """Customers to look at."""

    customers: list[CustomerSummary]
    count: int = Field(description="the length of customers", examples=[1])


class Outcome(BaseModel):
    """How the lists did for one customer."""

    number: int = Field(description="0 is the first that was drawn", examples=[0])
    customer_id: str = Field(examples=[CUSTOMER])
    purchases_before: int = Field(description="before the test", examples=[14])
    bought: int = Field(description="different articles in the test days", examples=[2])
    hits: dict[str, int] = Field(
        description="by ranking: how many of its first twelve they bought", examples=[{"popularity": 1}]
    )


class Replay(BaseModel):
    """Customers of the evaluation, drawn uniformly at random among all who bought in the test days."""

    first_day: str = Field(description="of the test", examples=["2020-09-16"])
    last_day: str = Field(description="of the test", examples=["2020-09-22"])
    drawn_from: int = Field(description="customers", examples=[68_984])
    rankings: list[str] = Field(description="that are laid side by side", examples=[["two-tower", "popularity"]])
    customers: list[Outcome]
    count: int = Field(description="the length of customers", examples=[300])


class Earlier(BaseModel):
    """A purchase before the test."""

    date: str = Field(examples=["2020-09-10"])
    article: Article


class Suggested(BaseModel):
    """An article of a list."""

    rank: int = Field(description="1 is the best", examples=[1])
    hit: bool = Field(description="whether they bought it in the test days", examples=[True])
    bought_before: bool = Field(description="among the purchases that are shown", examples=[False])
    article: Article


class ReplayedList(BaseModel):
    """The first twelve of a ranking, made before the test days."""

    ranking: str = Field(examples=["two-tower"])
    average_precision: float = Field(description="AP@12; its mean over customers is MAP@12", examples=[0.5])
    articles: list[Suggested]


class ReplayedCustomer(Outcome):
    """The lists of one customer, beside what they then bought."""

    before: list[Earlier] = Field(description="the latest purchases before the test, newest first")
    then_bought: list[Article]
    lists: list[ReplayedList]
