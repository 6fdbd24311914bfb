"""The ranking metrics that early stopping monitors, computed for the ranking as it would be published."""

from __future__ import annotations

from collections.abc import Callable

from hm_utils.data.features import CatalogueState
from hm_utils.data.preprocessing import Preprocessed
from hm_utils.evaluation import metrics
from hm_utils.model.repurchase import RepeatRates
from hm_utils.model.snapshot import Snapshot
from hm_utils.model.towers import TwoTower
from hm_utils.training.calibration import fit_scoring

# It measures retrieval, not order: on few validation days MAP@12 hardly differs between epochs.
MONITOR = "recall@100"
MAX_CUSTOMERS = 5_000


def validation(
    data: Preprocessed, state: CatalogueState, history_length: int
) -> Callable[[TwoTower], dict[str, float]]:
    """Make the function model → metrics over the customers who bought in the validation days, and before.

    Rankings are of the whole catalogue, as of the first validation day. The weights of popularity and repurchase are
    fitted anew for each model: the published ranking decides when to stop, because overconfident towers can still
    improve alone. With more than ``MAX_CUSTOMERS`` buyers a fixed random sample is used. This is a signal for
    stopping; the evaluation counts everybody.

    Cold-start customers all get nearly the same few rankings. Many of them would drown the signal in the luck of a
    day or two, so they count only if nobody else bought.
    """
    as_of = data.split.train_end
    truth = data.log.baskets_between(as_of, data.split.val_end)
    if not len(truth):
        raise ValueError(
            f"nobody bought anything in the {data.split.val_end - as_of} validation days, as the log ends on "
            f"{data.log.date(data.log.last_day)}. If that is a wrong date, remove its rows; else raise val_days"
        )
    truth = truth.select(data.log.has_history(truth.customers, as_of)).sample(MAX_CUSTOMERS, seed=0)
    rates = RepeatRates.as_of(data.log, as_of)  # once, not in every epoch
    categories, attributes, catalogue = data.training.categories, data.training.attributes, state.as_of(as_of)
    side = data.training.side

    def validate(model: TwoTower) -> dict[str, float]:
        snapshot = Snapshot.take(model, categories, catalogue, attributes, data.log, as_of, history_length, rates, side)
        ranked = snapshot.rank(truth.customers, scoring=fit_scoring(snapshot, truth))
        hits = metrics.hit_matrix(ranked, truth)
        return {
            "MAP@12": float(metrics.average_precision(hits, truth.sizes).mean()),
            MONITOR: float(metrics.recall(hits, truth.sizes, 100).mean()),
        }

    return validate
