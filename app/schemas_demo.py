"""Response bodies of the demo page's endpoints: the model, customers, and the replay of the evaluation."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from app.schemas import CUSTOMER, Article, CustomerId

MAX_CUSTOMERS = 20

IdPrefix = CustomerId


class Figure(BaseModel):
    """A mean over the test's customers with its 95 % bootstrap interval; null where a value is missing."""

    mean: float | None = Field(examples=[0.0386])
    low: float | None = Field(default=None, examples=[0.0372])
    high: float | None = Field(default=None, examples=[0.0401])


class Counts(BaseModel):
    """The size of the model's data."""

    articles: int = Field(examples=[105_542])
    customers: int = Field(examples=[1_371_980])
    purchases: int = Field(examples=[31_788_324])


class StockSummary(BaseModel):
    """The list of articles in stock."""

    articles: int = Field(description="articles in stock", examples=[98_210])
    unknown: int = Field(description="ids in the list that the model does not know", examples=[14])
    since: str = Field(description="when the list was written", examples=["2026-01-20T10:15:30+00:00"])


class Verdict(BaseModel):
    """The decision to publish the model."""

    verdict: Literal["better", "not worse", "worse"] = Field(
        description="against all baselines by paired intervals: significantly better than each, worse than one, or "
        "neither",
        examples=["better"],
    )
    reason: str = Field(examples=["Published: significantly better than every baseline by MAP@12 and recall@100"])
    against: list[str] = Field(description="what speaks against the model", examples=[[]])


class Model(BaseModel):
    """The served model, and the metrics of the same model before its refit on the held-out test days."""

    version: str = Field(examples=["20260120T101530.123456Z-1f2e3d4c"])
    published: str | None = Field(description="time of publication", examples=["2026-01-20T10:15:30+00:00"])
    data_from: str = Field(description="the first day of its purchases", examples=["2018-09-20"])
    data_until: str = Field(description="the last day of its purchases", examples=["2020-09-22"])
    trained_on: str = Field(
        description="whether its data are the synthetic sample or the operator's own, and their size",
        examples=["Synthetic sample: 21,000 customers, 10,000 articles, 734 days"],
    )
    counts: Counts
    stock: StockSummary | None = Field(description="the articles to choose from; null: all")
    tested_customers: int | None = Field(description="customers of the test; null if not recorded", examples=[68_984])
    metrics: dict[str, dict[str, Figure]] = Field(
        description="by ranking, then by metric: the model before its refit on the test days, and the baselines"
    )
    verdict: Verdict | None = Field(description="whether it beats the baselines; null if not recorded")
    hm_ids: bool = Field(description="whether ids have H&M's form; else they are any text", examples=[True])
    replay: bool = Field(description="whether GET /replay has customers", examples=[True])
    map: bool = Field(description="whether GET /map has a map", examples=[True])
    images: bool = Field(description="whether GET /images has photos", examples=[False])


class CustomerSummary(BaseModel):
    """A customer in short."""

    customer_id: str = Field(examples=[CUSTOMER])
    age: float | None = Field(description="null where unknown", examples=[32.0])
    purchases: int = Field(description="number of purchases", examples=[14])
    last_purchase: str | None = Field(description="date; null without purchases", examples=["2020-09-19"])


class Customers(BaseModel):
    """Customers found by id prefix or drawn from a segment."""

    customers: list[CustomerSummary]
    count: int = Field(description="the length of customers", examples=[1])


class ReplayOutcome(BaseModel):
    """The hits of each ranking for one customer."""

    number: int = Field(description="position in the draw, from 0", examples=[0])
    customer_id: str = Field(examples=[CUSTOMER])
    purchases_before: int = Field(description="number of purchases before the test", examples=[14])
    bought: int = Field(description="distinct articles bought in the test days", examples=[2])
    hits: dict[str, int] = Field(
        description="by ranking: number of its first twelve articles that they bought", examples=[{"popularity": 1}]
    )


class Replay(BaseModel):
    """Customers of the evaluation, drawn uniformly at random among all who bought in the test days."""

    first_day: str = Field(description="first day of the test", examples=["2020-09-16"])
    last_day: str = Field(description="last day of the test", examples=["2020-09-22"])
    drawn_from: int = Field(description="number of customers who bought in the test days", examples=[68_984])
    rankings: list[str] = Field(description="the rankings compared", examples=[["two-tower", "popularity"]])
    customers: list[ReplayOutcome]
    count: int = Field(description="the length of customers", examples=[300])


class EarlierPurchase(BaseModel):
    """A purchase before the test."""

    date: str = Field(examples=["2020-09-10"])
    article: Article


class ReplayedArticle(BaseModel):
    """An article of a ranking."""

    rank: int = Field(description="1 is the best", examples=[1])
    hit: bool = Field(description="whether they bought it in the test days", examples=[True])
    bought_before: bool = Field(description="whether it is among the purchases shown", examples=[False])
    article: Article


class ReplayedRanking(BaseModel):
    """The first twelve articles of a ranking made before the test days."""

    ranking: str = Field(examples=["two-tower"])
    average_precision: float = Field(description="AP@12; its mean over customers is MAP@12", examples=[0.5])
    articles: list[ReplayedArticle]


class ReplayedCustomer(ReplayOutcome):
    """The rankings of one customer, with their purchases before and during the test days."""

    before: list[EarlierPurchase] = Field(description="the latest purchases before the test, newest first")
    then_bought: list[Article]
    lists: list[ReplayedRanking]
