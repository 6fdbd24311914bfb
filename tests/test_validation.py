"""Early stopping watches the list as it would be published."""

import pytest

from hm_utils.calibration import calibrate
from hm_utils.evaluation import evaluate
from hm_utils.features import CatalogueState
from hm_utils.inference import Snapshot
from hm_utils.preprocessing import preprocess
from hm_utils.raw import RawTables
from hm_utils.scoring import TOWERS_ALONE
from hm_utils.validation import MONITOR, validation
from tests.data import article_table, customer_table, random_transactions
from tests.snapshots import HISTORY_LENGTH, random_towers


def test_metrics_are_those_of_the_calibrated_list_on_the_validation_days(tmp_path):
    tables = RawTables(article_table(), customer_table(), random_transactions(), [], {}, "raw")
    data = preprocess(tables, tmp_path / "made", val_days=5, test_days=5, train_weeks=2)
    model, state, as_of = random_towers(data.training), CatalogueState(data.log), data.split.train_end
    found = validation(data, state, HISTORY_LENGTH)(model)

    snapshot = Snapshot.take(
        model, data.training.categories, state.as_of(as_of), data.training.attributes, data.log, as_of, HISTORY_LENGTH
    )
    truth = data.log.baskets_between(as_of, data.split.val_end)
    published, alone = calibrate(snapshot, truth).scoring, TOWERS_ALONE
    lists = {str(each): snapshot.rank(truth.customers, scoring=each) for each in (published, alone)}
    table = evaluate(lists, truth, data.log, as_of)
    assert found == pytest.approx({name: table.mean(str(published), name) for name in ("MAP@12", "recall@100")})
    assert MONITOR in found
    assert found["MAP@12"] != pytest.approx(table.mean(str(alone)))
