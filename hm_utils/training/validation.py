"""The ranking metrics that early stopping watches: those of the list as it would be published."""

from __future__ import annotations

from collections.abc import Callable

from hm_utils.data.features import CatalogueState
from hm_utils.data.preprocessing import Preprocessed
from hm_utils.evaluation import metrics
from hm_utils.model.snapshot import Snapshot
from hm_utils.model.towers import TwoTower
from hm_utils.training.calibration import calibrate

# Of what is retrieved, not how it is ordered: on few validation days MAP@12 hardly tells one epoch from the next.
MONITOR = "recall@100"


def validation(
    data: Preprocessed, state: CatalogueState, history_length: int, max_customers: int = 5_000, seed: int = 0
) -> Callable[[TwoTower], dict[str, float]]:
    """Make the function model → metrics over the customers who bought in the validation days, and before.

    Rankings are of the whole catalogue, as of the first validation day, with the weights of popularity
    and repurchase fitted anew for each model: what will be published decides when to stop, and towers that
    grow too sure of themselves can still look better alone. With more than ``max_customers`` such buyers a
    fixed random part of them is used: this is a signal for stopping, the evaluation counts everybody.
    Customers without a purchase before all get nearly the same few lists, whose luck on a day or two would drown
    that signal where they are many; they count only if there is nobody else.
    """
    as_of = data.split.train_end
    truth = data.log.baskets_between(as_of, data.split.val_end)
    if not len(truth):
        raise ValueError(f"nobody bought anything in the {data.split.val_end - as_of} validation days: raise val_days")
    truth = truth.select(data.log.has_history(truth.customers, as_of)).sample(max_customers, seed)
    categories, attributes, catalogue = data.training.categories, data.training.attributes, state.as_of(as_of)

    def validate(model: TwoTower) -> dict[str, float]:
        snapshot = Snapshot.take(model, categories, catalogue, attributes, data.log, as_of, history_length)
        ranked = snapshot.rank(truth.customers, scoring=calibrate(snapshot, truth).scoring)
        hits = metrics.hit_matrix(ranked, truth)
        return {
            "MAP@12": float(metrics.average_precision(hits, truth.sizes).mean()),
            MONITOR: float(metrics.recall(hits, truth.sizes, 100).mean()),
        }

    return validate
