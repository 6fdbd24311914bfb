"""Any shop's log: three columns are enough, ids are any text, and further columns become features."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from hm_utils.analysis.data_tables import features_off
from hm_utils.data import raw_columns
from hm_utils.data.features import Buckets, Encoders, Vocabulary, mean_prices
from hm_utils.data.preprocessing import preprocess
from hm_utils.data.purchases import PurchaseLog
from hm_utils.data.raw import RawTables, read_raw
from hm_utils.data.schema import DROP, RawDataError
from tests.helpers.raw_files import any_shop, raw_frames, write

IDS = ["007", "7", "7.0", "1e5", "A b", "a b", "ü/é", "x'\"y", "null", "NA", "-1", " padded ", "9" * 100, "0123456789"]
LOG = "transactions_train"


def test_ids_are_kept_as_they_are(tmp_path: Path) -> None:
    tables = any_shop(IDS, IDS[::-1])
    read = read_raw(write(tmp_path, tables))
    assert not read.hm_ids
    assert read.articles["article_id"].tolist() == read.customers["customer_id"].tolist() == sorted(IDS)
    log = tables[LOG]
    assert read.articles["article_id"][read.transactions["article"]].tolist() == log["article_id"].tolist()
    assert read.customers["customer_id"][read.transactions["customer"]].tolist() == log["customer_id"].tolist()


def off(read: RawTables) -> str:
    return features_off(read.articles, read.customers, read.absent)


def test_three_columns_are_enough(tmp_path: Path) -> None:
    read = read_raw(write(tmp_path, any_shop(["a", "b"], ["x", "y", "z"])))
    assert off(read).endswith("all of `articles`, all of `customers`, `transactions.price`.")
    assert off(read_raw(write(tmp_path / "hm", raw_frames()))) == ""
    assert read.absent["transactions"] == ["price", "sales_channel_id"]
    assert set(read.absent["articles"]) == set(raw_columns.ARTICLE_COLUMNS) - {"article_id"}
    assert read.transactions["price"].isna().all()
    assert read.articles.drop(columns="article_id").isna().all(axis=None)
    missing = [finding for finding in read.report if "is there (without" in finding.rule]
    assert [finding.table for finding in missing] == ["articles", "customers"]


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_a_log_alone_of_hms_has_its_ids(tmp_path: Path, form: str) -> None:
    log = raw_frames()[LOG]
    bare = log.assign(article_id=log["article_id"].astype("int64"), customer_id=log["customer_id"].str.upper())
    if form == "csv":
        write(tmp_path, {LOG: bare})
    else:
        bare.to_parquet(tmp_path / f"{LOG}.parquet")
    read = read_raw(tmp_path)
    assert read.hm_ids
    assert read.articles["article_id"].tolist() == sorted(set(log["article_id"]))
    assert read.customers["customer_id"].tolist() == sorted(set(log["customer_id"]))
    assert len(read.transactions) == len(log)


@pytest.mark.parametrize("bad", ["bell\a", "two\nlines", "\x85", "9" * 101])
def test_unprintable_and_endless_ids_are_dropped(tmp_path: Path, bad: str) -> None:
    good = [f"c{i}" for i in range(60)]
    read = read_raw(write(tmp_path, any_shop([*good, bad], ["x"], rows=61)))
    assert read.customers["customer_id"].tolist() == sorted(good)
    assert any(finding.action == DROP and "printable" in finding.rule for finding in read.report)


def test_codes_of_another_shop_are_any_text_and_names_stand_in_for_codes(tmp_path: Path) -> None:
    articles = pd.DataFrame(
        {"article_id": ["x", "y"], "product_code": ["P-1", "P-2"], "colour_group_name": ["red", ""]}
    )
    read = read_raw(write(tmp_path, any_shop(["a"], ["x", "y"]) | {"articles": articles}))
    assert read.articles["product_code"].tolist() == ["P-1", "P-2"]
    assert read.articles["colour_group_code"][0] == "red"
    assert "`articles.product_type_no`" in off(read)
    assert "colour_group_code" not in off(read)
    assert read.articles["colour_group_code"].isna().tolist() == [False, True]


WRONG = {
    "misspelt": (("brnd",), "articles.csv has no column brnd. Its columns are 'article_id', 'brand'"),
    "known": (("colour_group_name",), "colour_group_name is read anyway: leave it out of article_columns"),
    "the id": (("article_id",), "article_id is read anyway"),
    "twice": (("brand", "brand"), "brand is named twice"),
}


@pytest.mark.parametrize(("names", "message"), WRONG.values(), ids=WRONG)
def test_wrong_further_columns_are_named(tmp_path: Path, names: tuple[str, ...], message: str) -> None:
    articles = pd.DataFrame({"article_id": ["x"], "brand": ["b"]})
    write(tmp_path, any_shop(["a"], ["x"]) | {"articles": articles})
    with pytest.raises(RawDataError) as refused:
        read_raw(tmp_path, article_columns=names)
    assert message in str(refused.value)


def test_further_columns_become_features(tmp_path: Path) -> None:
    """Text and few numbers are categories, many numbers are cut into buckets; both survive the disk."""
    n = 200
    ids = [f"a{i:03d}" for i in range(n)]
    numbers = np.random.default_rng(0).normal(size=n).round(3)
    articles = pd.DataFrame(
        {"article_id": ids, "brand": [f"brand {i % 3}" for i in range(n)], "count": np.arange(n) % 5, "weight": numbers}
    )
    articles.loc[7, ["brand", "weight"]] = [None, np.nan]
    customers = pd.DataFrame({"customer_id": ["c0", "c1", "c2"], "tier": ["gold", "gold", "unique"]})
    tables = any_shop(["c0", "c1", "c2"], ids, rows=2_000) | {"articles": articles, "customers": customers}
    read = read_raw(write(tmp_path / "raw", tables), ["brand", "count", "weight"], ["tier"])
    data = preprocess(read, tmp_path / "preprocessed", val_days=2, test_days=2, train_weeks=4)
    assert data.manifest["parameters"]["article_columns"] == ["brand", "count", "weight"]
    assert not data.manifest["hm_ids"]
    encoders = data.training.encoders
    assert encoders.article_columns[-4:] == ["price paid", "brand", "count", "weight"]
    brand, count, weight = (encoders.article[name] for name in ("brand", "count", "weight"))
    assert (brand, count) == (Vocabulary(("brand 0", "brand 1", "brand 2")), Vocabulary(tuple("01234")))
    assert isinstance(weight, Buckets)
    assert encoders.customer["tier"] == Vocabulary(("gold",)), "a value of one customer is unknown"
    codes = data.training.categories[:, -3:]
    assert codes[7, [0, 2]].tolist() == [0, 0]
    known = np.delete(codes[:, 2], 7)
    counts = np.bincount(known)[2:]
    assert len(counts) == 20
    assert counts.max() <= 2 * counts.min(), "buckets are of about equal size"
    assert (np.diff(known[np.argsort(np.delete(numbers, 7))]) >= 0).all()
    assert encoders.encode_customer({"tier": "gold"}).tolist() == data.training.attributes[:1].tolist()


def test_a_log_without_prices_has_no_price_feature(tmp_path: Path) -> None:
    read = read_raw(write(tmp_path, any_shop(["a", "b"], ["x", "y"])))
    log = PurchaseLog.from_transactions(read.transactions, 2, 2)
    prices = mean_prices(log, log.last_day + 1)
    encoders = Encoders.fit(read.articles, read.customers, log, log.last_day + 1, prices)
    assert encoders.price_edges == ()
    assert (encoders.encode_articles(read.articles, prices)[:, encoders.article_columns.index("price paid")] == 0).all()
