"""Early stopping watches the list as it would be published."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from hm_utils.data.features import CatalogueState
from hm_utils.data.preprocessing import preprocess
from hm_utils.data.purchases import PurchaseLog
from hm_utils.data.raw import RawTables
from hm_utils.evaluation.comparison import evaluate
from hm_utils.model.scoring import TOWERS_ALONE
from hm_utils.model.snapshot import Snapshot
from hm_utils.training.calibration import calibrate
from hm_utils.training.validation import MONITOR, validation
from tests.helpers.data import article_table, customer_table, random_transactions
from tests.helpers.snapshots import HISTORY_LENGTH, random_towers


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Some of the validation days' buyers bought before, some did not."""
    tables = RawTables(article_table(), customer_table(), random_transactions(), [], {}, "raw")
    log = tables.transactions
    cold_start = log["customer"].isin(log["customer"].unique()[::4])
    early = log["t_dat"] < log["t_dat"].max() - pd.Timedelta(days=9)
    tables = replace(tables, transactions=log[~(cold_start & early)])
    return preprocess(tables, tmp_path_factory.mktemp("made") / "made", val_days=5, test_days=5, train_weeks=2)


@pytest.fixture(scope="module")
def snapshot(data):
    as_of = data.split.train_end
    catalogue = CatalogueState(data.log).as_of(as_of)
    categories, attributes = data.training.categories, data.training.attributes
    model = random_towers(data.training)
    return Snapshot.take(model, categories, catalogue, attributes, data.log, as_of, HISTORY_LENGTH)


def test_metrics_are_those_of_the_calibrated_list_of_who_bought_before(data, snapshot):
    found = validation(data, CatalogueState(data.log), HISTORY_LENGTH)(snapshot.model)

    as_of = data.split.train_end
    truth = data.log.baskets_between(as_of, data.split.val_end)
    known = np.isin(truth.customers, data.log.before(as_of).customer)
    assert 0 < known.sum() < len(known)
    truth = truth.select(known)
    published, alone = calibrate(snapshot, truth).scoring, TOWERS_ALONE
    lists = {str(each): snapshot.rank(truth.customers, scoring=each) for each in (published, alone)}
    table = evaluate(lists, truth, data.log, as_of)
    assert found == pytest.approx({name: table.mean(str(published), name) for name in ("MAP@12", "recall@100")})
    assert MONITOR in found
    assert found["MAP@12"] != pytest.approx(table.mean(str(alone)))


def test_cold_start_customers_count_where_nobody_else_bought(data, snapshot, monkeypatch):
    truth = data.log.baskets_between(data.split.train_end, data.split.val_end)
    known = np.isin(truth.customers, data.log.before(data.split.train_end).customer)
    truth = truth.select(~known)
    monkeypatch.setattr(PurchaseLog, "baskets_between", lambda *_: truth)
    found = validation(data, CatalogueState(data.log), HISTORY_LENGTH)(snapshot.model)
    ranked = snapshot.rank(truth.customers, scoring=calibrate(snapshot, truth).scoring)
    table = evaluate({"it": ranked}, truth, data.log, data.split.train_end)
    assert found == pytest.approx({name: table.mean("it", name) for name in found})
