"""The articles of the sample: attributes, styles, prices and appeal.

An article belongs to a product: colours of one design share name, description, department and price. It has a share of
each latent style. Its base appeal has parts for its product, the article itself, its department, colour and graphical
appearance. The weeks on sale and the weekly appeal are in assortment.py.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from hm_utils.arrays import Float32, Float64, Int32, Int64
from hm_utils.sample import departments as department_data
from hm_utils.sample import vocabularies as voc
from hm_utils.sample.assortment import lifetimes, weekly
from hm_utils.sample.constants import BASE_SPREAD, STAPLE_DAYS, Constants
from hm_utils.sample.words import product_texts

# Per cent of the products with 1, 2, ... variants (mean 2.2, a long tail).
_VARIANTS = np.array([51, 25.2, 10.5, 5.0, 2.5, 1.6, 1.0, 0.7, 0.45, 0.4, 0.3, 0.25, 0.2, 0.2, 0.15, 0.15, 0.1, 0.1])
# Price points: multiples of 1/590 of the data's unit.
_PRICE_POINTS = (
    np.array([2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 13, 15, 18, 20, 25, 30, 35, 40, 50, 60, 70, 90, 120, 175]) / 590
)
EXAMPLE_ARTICLES = ("0108775015", "0706016001")  # of the documentation, in every sample


@dataclass(frozen=True)
class Catalogue:
    """The articles, sorted by id, and the inputs of the choice model (a articles, w weeks).

    Attributes:
        table: ``[a]`` rows, the 25 columns of ``articles.csv``.
        department: ``[a]`` row in ``departments()``.
        product: ``[a]`` product number, from 0 in the order of the codes.
        styles: ``[a, len(STYLES)]`` share of each style.
        price: ``[a]`` full price.
        staple_days: ``[a]`` usual days between repurchases of a staple, 0 for other articles.
        repeat_rate: ``[a]`` factor of the recall of an article, with mean 1.
        log_appeal: ``[w, a]`` minus infinity when not on sale.
        markdown: ``[w, a]`` relative price reduction.
        days: length of the log.
    """

    table: pd.DataFrame
    department: Int32
    product: Int32
    styles: Float64
    price: Float64
    staple_days: Float32
    repeat_rate: Float32
    log_appeal: Float32
    markdown: Float32
    days: int


def make_catalogue(n_articles: int, days: int, constants: Constants, rng: np.random.Generator) -> Catalogue:
    """Draw ``n_articles`` articles for a log of ``days`` days."""
    weeks = -(-days // 7)
    departments, types = department_data.departments(), voc.product_types().set_index("no")
    product, variant = _products(n_articles, rng)
    n_products = int(product.max()) + 1

    stock = departments["articles"] * (departments["sales"] / departments["articles"]) ** constants.stock_tilt
    department = rng.choice(len(departments), size=n_products, p=stock / stock.sum())
    type_no = _types_of(department, department_data.product_types(departments), rng)
    appearance = _appearances_of(departments["garment_group_no"].to_numpy()[department], rng)
    season = types.loc[type_no, "season"].to_numpy()
    launch, end, evergreen = lifetimes(product, variant, season, weeks, constants, rng)

    # Product codes increase with the launch, as in the real catalogue.
    first_launch = np.full(n_products, np.inf)
    np.minimum.at(first_launch, product, launch)
    rank = np.argsort(np.argsort(first_launch, kind="stable"), kind="stable")
    codes = _product_codes(n_products, rng)
    rows = np.lexsort((variant, rank[product]))
    product, variant, launch, end = product[rows], variant[rows], launch[rows], end[rows]

    colours = voc.colours()
    colour = _colours_of(product, variant, colours["articles"].to_numpy(), rng)
    value, master = _perceived(colour, colours["perceived"], rng)
    styles = _styles(departments, department[product], product, appearance[product], master, n_products, rng)
    product_styles = np.zeros((n_products, styles.shape[1]))
    np.add.at(product_styles, product, styles)
    product_styles /= np.bincount(product, minlength=n_products)[:, None]
    product_types = types.loc[type_no].reset_index(drop=True)
    names, texts = product_texts(product_types["name"], product_styles, rng)

    appearances = voc.appearances().set_index("no")
    own = departments.iloc[department[product]].reset_index(drop=True)  # the department of each article
    index_group = own["index_code"].map({code: group for code, (_, group) in voc.INDEXES.items()})
    article_type = types.loc[type_no[product]].reset_index()
    code = codes[rank[product]]
    table = pd.DataFrame(
        {
            "article_id": pd.Series(code).astype(str).str.zfill(7)
            + pd.Series(variant + _first_number(code)).astype(str).str.zfill(3),
            "product_code": code,
            "prod_name": names.to_numpy()[product],
            "product_type_no": article_type["no"],
            "product_type_name": article_type["name"],
            "product_group_name": article_type["group"],
            "graphical_appearance_no": appearance[product],
            "graphical_appearance_name": appearances.loc[appearance[product], "name"].to_numpy(),
            "colour_group_code": colours["code"].to_numpy()[colour],
            "colour_group_name": colours["name"].to_numpy()[colour],
            "perceived_colour_value_id": value,
            "perceived_colour_value_name": pd.Series(value).map(voc.COLOUR_VALUES),
            "perceived_colour_master_id": master,
            "perceived_colour_master_name": pd.Series(master).map(voc.COLOUR_MASTERS),
            "department_no": own["department_no"],
            "department_name": own["department_name"],
            "index_code": own["index_code"],
            "index_name": own["index_code"].map({code: name for code, (name, _) in voc.INDEXES.items()}),
            "index_group_no": index_group,
            "index_group_name": index_group.map(voc.INDEX_GROUPS),
            "section_no": own["section_no"],
            "section_name": own["section_no"].map(voc.SECTIONS),
            "garment_group_no": own["garment_group_no"],
            "garment_group_name": own["garment_group_no"].map(voc.GARMENT_GROUPS),
            "detail_desc": texts.to_numpy()[product],
        }
    )
    price = _prices(own["price"].to_numpy(), product, n_products, rng)
    base = constants.spread * (
        rng.normal(0, BASE_SPREAD[0], n_products)[product]
        + rng.normal(0, BASE_SPREAD[1], n_articles)
        + np.log(own["sales"].to_numpy() / stock.to_numpy()[department[product]])
        + 0.9 * _log_demand(colours)[colour]
        + 0.5 * _log_demand(appearances)[pd.Index(appearances.index).get_indexer(pd.Index(appearance[product]))]
    )
    top = np.quantile(base, 0.98)
    base = np.minimum(base, top + constants.head * (base - top))
    base += np.log(constants.evergreen) * evergreen[rows]
    log_appeal, markdown = weekly(base, article_type["season"].to_numpy(), launch, end, product, weeks, constants, rng)
    return Catalogue(
        table=table,
        department=department[product].astype(np.int32),
        product=pd.factorize(table["product_code"], sort=True)[0].astype(np.int32),
        styles=styles,
        price=price,
        staple_days=own["garment_group_no"].map(STAPLE_DAYS).fillna(0).to_numpy(np.float32),
        repeat_rate=_repeat_rates(n_products, constants.repeat_spread, rng)[product],
        log_appeal=log_appeal,
        markdown=markdown,
        days=days,
    )


def _products(n_articles: int, rng: np.random.Generator) -> tuple[Int64, Int64]:
    """``[a]`` product number and ``[a]`` variant number of every article, both from 0."""
    sizes = rng.choice(np.arange(1, len(_VARIANTS) + 1), size=n_articles, p=_VARIANTS / _VARIANTS.sum())
    ends = np.cumsum(sizes)
    product = np.searchsorted(ends, np.arange(n_articles), side="right")
    return product, np.arange(n_articles) - (ends - sizes)[product]


def _repeat_rates(n_products: int, spread: float, rng: np.random.Generator) -> Float32:
    """``[p]`` log-normal rates with mean 1."""
    return np.exp(spread * rng.standard_normal(n_products) - spread**2 / 2).astype(np.float32)


def _product_codes(n: int, rng: np.random.Generator) -> Int64:
    """``[n]`` ascending codes. The two products of the documentation's examples are among them."""
    first, example = (int(article[:7]) for article in EXAMPLE_ARTICLES)
    codes = first + np.sort(rng.choice(890_000, size=n, replace=False))
    codes[0] = first
    codes[1 + np.abs(codes[1:] - example).argmin()] = example
    return codes


def _first_number(code: Int64) -> Int64:
    """``[a]`` the number of the first variant: 1, or that of the documentation's example."""
    first = EXAMPLE_ARTICLES[0]
    return np.where(code == int(first[:7]), int(first[7:]), 1)


def _log_demand(table: pd.DataFrame) -> Float64:
    """Log ratio of the sales to the articles of each colour or graphical appearance."""
    return np.log((table["sales"].to_numpy() + 0.5) / (table["articles"].to_numpy() + 0.5))


def _types_of(department: npt.NDArray, shares: pd.DataFrame, rng: np.random.Generator) -> Int64:
    """Draw the product type of each product by the shares in its department."""
    edges = shares["department"].to_numpy() + shares.groupby("department")["share"].cumsum().to_numpy()
    at = np.searchsorted(edges, department + rng.random(len(department)) * 0.999999)
    return shares["product_type_no"].to_numpy()[at]


def _appearances_of(garment_group: npt.NDArray, rng: np.random.Generator) -> Int64:
    """Draw the graphical appearance of each product; 90 % of trousers denim are denim."""
    table = voc.appearances()
    other = table["articles"].where(table["no"] != 1010023, 0.3)
    drawn = rng.choice(table["no"], size=len(garment_group), p=other / other.sum())
    return np.where((garment_group == 1016) & (rng.random(len(garment_group)) < 0.9), 1010023, drawn)


def _colours_of(product: npt.NDArray, variant: npt.NDArray, rates: Float64, rng: np.random.Generator) -> npt.NDArray:
    """``[a]`` colour (row of ``colours()``); the variants of a product have different colours."""
    # Sorting log rates plus Gumbel noise draws without replacement, in proportion to the rates.
    noise = rng.gumbel(size=(int(product.max()) + 1, len(rates))).astype(np.float32)
    ranking = np.argsort(-(np.log(rates + 1e-3).astype(np.float32) + noise), axis=1)
    return ranking[product, variant % len(rates)]


def _perceived(colour: npt.NDArray, perceived: pd.Series, rng: np.random.Generator) -> tuple[npt.NDArray, npt.NDArray]:
    """``[a]`` perceived colour value and ``[a]`` master: one of the one or two pairs of the article's colour."""
    pairs = perceived.str.extractall(r"(-?\d+)/(-?\d+):(\d+)").astype(int)
    first = pairs.xs(0, level="match")
    last = pairs.groupby(level=0).last()
    is_first = rng.random(len(colour)) * 100 < first[2].to_numpy()[colour]
    value = np.where(is_first, first[0].to_numpy()[colour], last[0].to_numpy()[colour])
    master = np.where(is_first, first[1].to_numpy()[colour], last[1].to_numpy()[colour])
    return value, master


def _styles(
    departments: pd.DataFrame,
    department: npt.NDArray,
    product: npt.NDArray,
    appearance: npt.NDArray,
    master: npt.NDArray,
    n_products: int,
    rng: np.random.Generator,
) -> Float64:
    """``[a, styles]``: a softmax over styles of section, garment group, appearance, colour, product and article."""
    width = len(voc.STYLES)
    own = departments.iloc[department]
    signal = (
        1.5 * voc.style_weights(own["section_no"], voc.SECTION_STYLES)
        + 1.1 * voc.style_weights(own["garment_group_no"], voc.GARMENT_STYLES)
        + 0.9 * voc.style_weights(pd.Series(appearance), voc.APPEARANCE_STYLES)
        + 0.7 * voc.style_weights(pd.Series(master), voc.MASTER_STYLES)
    ).to_numpy()
    logits = 1.7 * signal + rng.normal(0, 1.2, (n_products, width))[product]
    logits += rng.normal(0, 0.25, logits.shape)
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    return weights / weights.sum(axis=1, keepdims=True)


def _prices(typical: Float64, product: npt.NDArray, n_products: int, rng: np.random.Generator) -> Float64:
    """``[a]`` full price: near the department's typical price, on a price point, the same for a product's variants."""
    wanted = np.log(1.1 * typical) + rng.normal(0, 0.38, n_products)[product]
    edges = np.log(_PRICE_POINTS[:-1] * _PRICE_POINTS[1:]) / 2
    return _PRICE_POINTS[np.searchsorted(edges, wanted)]
