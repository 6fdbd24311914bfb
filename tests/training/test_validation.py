"""Early stopping watches the ranking as it would be published."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from hm_utils.data.features import CatalogueState
from hm_utils.data.preprocessing import preprocess
from hm_utils.data.purchases import PurchaseLog
from hm_utils.evaluation.comparison import evaluate
from hm_utils.model.scoring import TOWERS_ALONE
from hm_utils.training.calibration import calibrate
from hm_utils.training.validation import MONITOR, validation
from tests.helpers.data import raw_tables
from tests.helpers.snapshots import HISTORY_LENGTH, snapshot_of


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Some of the validation days' buyers bought before, some did not."""
    tables = raw_tables()
    log = tables.transactions
    cold_start = log["customer"].isin(log["customer"].unique()[::4])
    early = log["t_dat"] < log["t_dat"].max() - pd.Timedelta(days=9)
    tables = replace(tables, transactions=log[~(cold_start & early)])
    return preprocess(tables, tmp_path_factory.mktemp("made") / "made", val_days=5, test_days=5, train_weeks=2)


@pytest.fixture(scope="module")
def snapshot(data):
    return snapshot_of(data.training, data.log, data.split.train_end)


@pytest.mark.parametrize("known", [True, False], ids=["returning", "cold start alone"])
def test_metrics_are_those_of_the_calibrated_ranking_of_returning_customers(data, snapshot, monkeypatch, known):
    """Cold-start customers count only if nobody else bought."""
    as_of = data.split.train_end
    truth = data.log.baskets_between(as_of, data.split.val_end)
    has_history = np.isin(truth.customers, data.log.before(as_of).customer)
    assert 0 < has_history.sum() < len(truth)
    counted = truth.select(has_history == known)
    if not known:
        monkeypatch.setattr(PurchaseLog, "baskets_between", lambda *_: counted)
    found = validation(data, CatalogueState(data.log), HISTORY_LENGTH)(snapshot.model)
    scorings = {"published": calibrate(snapshot, counted).scoring, "alone": TOWERS_ALONE}
    rankings = {name: snapshot.rank(counted.customers, scoring=scoring) for name, scoring in scorings.items()}
    table = evaluate(rankings, counted, data.log, as_of)
    assert found == pytest.approx({name: table.mean("published", name) for name in ("MAP@12", MONITOR)})
    assert not known or found["MAP@12"] != pytest.approx(table.mean("alone"))
