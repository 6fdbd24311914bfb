"""The training loop learns, stops, keeps the best epoch, and resumes to the same weights."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from hm_utils.data.popularity import LOGIT_ADJUSTMENT
from hm_utils.data.preprocessing import make_training_data
from hm_utils.data.purchases import PurchaseLog
from hm_utils.model.checkpoint import read_checkpoint
from hm_utils.training import accelerator
from hm_utils.training import loop as training_module
from hm_utils.training.batches import BatchMaker
from hm_utils.training.fit import training_inputs
from hm_utils.training.loop import (
    MIN_DAYS_OF_LOG,
    PRICE_COLUMN,
    TrainingSettings,
    batch_loss,
    encode_batch,
)
from hm_utils.training.negatives import InBatchNegatives
from hm_utils.training.optimizer import AVERAGE_POWER, STEPS_PER_AVERAGE, RowAdam
from tests.helpers.data import ARTICLES, CUSTOMERS, article_table, customer_table, random_transactions
from tests.helpers.snapshots import random_towers
from tests.helpers.training import SMALL, fixed_parts, run, weights


class Interrupted(Exception):
    pass


@pytest.fixture(scope="module")
def parts():
    return fixed_parts()


def scores(values):
    """A validation that returns the given scores, one an epoch."""
    remaining = iter(values)

    def validate(model):
        value = next(remaining)
        if value is None:
            raise Interrupted
        return {"score": value}

    return validate


def assert_same_weights(model, other):
    """``other`` is a model, or its weights."""
    other = other if isinstance(other, dict) else weights(other)
    for name, value in weights(model).items():
        torch.testing.assert_close(value, other[name], rtol=0, atol=0)


@pytest.mark.parametrize("use_in_batch_negatives", [True, False])
def test_the_loss_falls_and_without_validation_the_last_epoch_is_kept(parts, tmp_path, use_in_batch_negatives):
    settings = {"use_in_batch_negatives": use_in_batch_negatives, "learning_rate": 0.01}
    result = run(parts, tmp_path / "c.pt", **settings)
    losses = [record["train_loss"] for record in result.history]
    assert losses[-1] < losses[0] - 0.1
    assert len(losses) == result.best_epoch == 4
    assert not list(tmp_path.glob("*.resume"))


def test_it_stops_after_patience_and_keeps_the_epoch_with_the_best_mean_of_three(parts, tmp_path):
    seen = []

    def validate(model):
        seen.append(weights(model))
        return {"score": [0.1, 0.5, 0.4, 0.45, 0.3, 0.2, 0.9][len(seen) - 1]}  # means 0.1, 0.3, 0.33, 0.45, 0.38, 0.32

    result = run(parts, tmp_path / "c.pt", validate, num_epochs=10, patience=2)
    assert len(result.history) == 6
    assert result.best_epoch == 4
    assert_same_weights(result.model, seen[3])
    assert read_checkpoint(tmp_path / "c.pt")["epoch"] == 4


@pytest.mark.parametrize("steps_per_epoch", [10_000, 5])  # 5: in the middle of a pass
def test_an_interrupted_run_resumes_to_the_same_weights(parts, tmp_path, steps_per_epoch):
    steps = {"steps_per_epoch": steps_per_epoch}
    whole = run(parts, tmp_path / "whole.pt", scores([0.1, 0.2, 0.3, 0.4]), **steps)
    with pytest.raises(Interrupted):
        run(parts, tmp_path / "cut.pt", scores([0.1, 0.2, None]), **steps)
    assert (tmp_path / "cut.pt.resume").exists()
    resumed = run(parts, tmp_path / "cut.pt", scores([0.3, 0.4]), **steps)
    assert resumed.resumed_from == 2
    assert [r["train_loss"] for r in resumed.history] == [r["train_loss"] for r in whole.history]
    assert_same_weights(whole.model, resumed.model)
    assert not (tmp_path / "cut.pt.resume").exists()


def test_a_long_pass_is_cut_into_epochs(parts, tmp_path, monkeypatch):
    made: list[np.ndarray] = []
    make = BatchMaker.make

    def counted(self, chosen, rng):
        made.append(chosen)
        return make(self, chosen, rng)

    monkeypatch.setattr(BatchMaker, "make", counted)
    _, training = parts
    steps = -(-len(training.examples) // 64)
    assert steps > 10
    done: list[int] = []

    def validate(model):
        done.append(len(made))
        return {"score": 0.0}

    run(parts, tmp_path / "c.pt", validate, num_epochs=6, patience=9, steps_per_epoch=-(-steps // 3))
    epochs = np.diff(done, prepend=0)
    assert epochs[:3].sum() == epochs[3:].sum() == steps
    assert np.ptp(epochs) <= 1
    for one_pass in (made[:steps], made[steps:]):
        assert sorted(np.concatenate(one_pass).tolist()) == list(range(len(training.examples)))
    assert any(not np.array_equal(first, second) for first, second in zip(made[:steps], made[steps:], strict=True))


@pytest.mark.parametrize(
    "change", [{"fingerprint": "other data"}, {"learning_rate": 0.002}, {"seed": 1}], ids=["data", "rate", "seed"]
)
def test_the_state_of_another_run_is_not_resumed(parts, tmp_path, change):
    with pytest.raises(Interrupted):
        run(parts, tmp_path / "c.pt", scores([0.1, None]), num_epochs=2)
    result = run(parts, tmp_path / "c.pt", scores([0.1, 0.2]), num_epochs=2, **change)
    assert result.resumed_from == 0
    assert len(result.history) == 2


@pytest.mark.parametrize("damage", ["another run's", "missing", "damaged", "damaged state"])
def test_a_run_whose_files_are_not_its_own_starts_anew(parts, tmp_path, damage, caplog):
    best = tmp_path / "c.pt"
    with pytest.raises(Interrupted):
        run(parts, best, scores([0.5, None]), num_epochs=2)
    if damage == "another run's":
        run(parts, best.with_name("other.pt"), num_epochs=1, seed=7)
        best.with_name("other.pt").replace(best)
    elif damage == "missing":
        best.unlink()
    elif damage == "damaged":
        best.write_bytes(b"not a checkpoint")
    else:
        best.with_name("c.pt.resume").write_bytes(b"not a state")
    # No epoch is better than the first: a resumed run would keep the file on disk.
    result = run(parts, best, scores([0.5, 0.1]), num_epochs=2)
    assert result.resumed_from == 0
    assert result.best_epoch == 1
    assert read_checkpoint(best)["settings"]["seed"] == 42
    assert "starts anew" in caplog.text


def test_a_loss_that_is_not_finite_is_an_error_that_says_what_to_do(parts, tmp_path):
    with pytest.raises(FloatingPointError, match="lower learning_rate"):
        run(parts, tmp_path / "c.pt", learning_rate=1e30)


def test_a_loss_that_is_not_finite_ends_an_epoch_at_the_next_reading(parts, tmp_path, monkeypatch):
    steps = []

    def diverged(*arguments):
        steps.append(batch_loss(*arguments))
        return steps[-1] * float("nan" if len(steps) == 2 else 1)

    monkeypatch.setattr(training_module, "STEPS_PER_READING", 3)
    monkeypatch.setattr(training_module, "batch_loss", diverged)
    with pytest.raises(FloatingPointError, match="the loss is"):
        run(parts, tmp_path / "c.pt", batch_size=32)
    assert len(steps) == 3


@pytest.mark.parametrize(
    ("name", "value"),
    [("batch_size", 1), ("num_epochs", 0), ("learning_rate", float("nan")), ("patience", 0), ("history_length", 0)],
)
def test_a_setting_out_of_range_is_named(name, value):
    with pytest.raises(ValueError, match=name):
        TrainingSettings(**{name: value})


def test_training_reads_nothing_of_the_future(parts, tmp_path):
    log, training = parts
    cut = log.before(training.as_of)
    short = make_training_data(article_table(), customer_table(), cut, 40, 4, negatives_per_positive=2)
    first = run(parts, tmp_path / "whole.pt", num_epochs=2)
    second = run((cut, short), tmp_path / "cut.pt", num_epochs=2)
    assert_same_weights(first.model, second.model)
    np.testing.assert_array_equal(training.examples.negatives, short.examples.negatives)


@pytest.mark.parametrize("on_gpu", [False, True])
def test_row_adam_takes_the_steps_of_sparse_adam(monkeypatch, on_gpu):
    monkeypatch.setattr(accelerator, "used", lambda device: on_gpu)
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(50, 4, generator=generator)
    bags = [torch.nn.EmbeddingBag.from_pretrained(start.clone(), False, mode="sum", sparse=True) for _ in range(2)]
    optimizers = [
        kind(bag.parameters(), lr=0.01) for kind, bag in zip((RowAdam, torch.optim.SparseAdam), bags, strict=True)
    ]
    for _ in range(20):
        rows, target = torch.randint(20, (8, 3), generator=generator), torch.randn(8, 4, generator=generator)
        for bag, optimizer in zip(bags, optimizers, strict=True):
            optimizer.zero_grad()
            (bag(rows) - target).square().mean().backward()
            optimizer.step()
    torch.testing.assert_close(bags[0].weight, bags[1].weight)
    assert not torch.equal(bags[0].weight[:20], start[:20])
    assert torch.equal(bags[0].weight[20:], start[20:]), "rows without a gradient stay as they are"
    first, second = (optimizer.state_dict()["state"][0] for optimizer in optimizers)
    assert first["step"] == second["step"] == 20
    torch.testing.assert_close(first["exp_avg_sq"], second["exp_avg_sq"])


NEW_ARTICLE = ARTICLES - 1  # first sold on day 36


@pytest.fixture(scope="module")
def with_a_new_article():
    """Log, training data and towers where NEW_ARTICLE is sold late; training knows its id and price."""
    frame = random_transactions()
    new = frame.head(3).assign(t_dat=frame["t_dat"].min() + pd.Timedelta(days=36), article=NEW_ARTICLE)
    log = PurchaseLog.from_transactions(pd.concat([frame, new]), CUSTOMERS, ARTICLES)
    training = make_training_data(article_table(), customer_table(), log, 40, 6, negatives_per_positive=2)
    assert (training.categories[NEW_ARTICLE, [0, PRICE_COLUMN]] > 1).all()
    return log, training, random_towers(training)


def is_read(with_a_new_article, article, column, day):
    """Whether an article's category has an effect on its vector in a batch of the day."""
    log, training, model = with_a_new_article
    inputs = training_inputs(log, training, SMALL)
    batch = inputs.batches.make(np.flatnonzero(training.examples.day == day), np.random.default_rng(0))
    batch = replace(batch, items=np.arange(ARTICLES, dtype=np.int32))
    categories = training.categories.copy()
    categories[article, column] = 2 if categories[article, column] != 2 else 3
    with torch.no_grad():
        (_, items), (_, other) = (
            encode_batch(model, batch, each, "cpu") for each in (inputs, replace(inputs, categories=categories))
        )
    return not torch.equal(items[article], other[article])


@pytest.mark.parametrize("column", [0, 1, PRICE_COLUMN], ids=["id", "product", "price"])
def test_an_article_not_yet_sold_has_no_id_product_or_price(with_a_new_article, column):
    assert not is_read(with_a_new_article, NEW_ARTICLE, column, MIN_DAYS_OF_LOG)
    assert not is_read(with_a_new_article, NEW_ARTICLE, column, 36)  # the morning of its first sale
    assert is_read(with_a_new_article, NEW_ARTICLE, column, 37)
    assert is_read(with_a_new_article, 0, column, MIN_DAYS_OF_LOG)  # sold long before
    assert is_read(with_a_new_article, NEW_ARTICLE, column, MIN_DAYS_OF_LOG - 1)  # the log is too young
    assert is_read(with_a_new_article, NEW_ARTICLE, 3, 30)  # its other categories


@pytest.mark.parametrize("use_in_batch_negatives", [True, False], ids=["softmax", "pairs"])
def test_each_pair_of_an_ensemble_has_a_loss_of_its_own(parts, use_in_batch_negatives):
    log, training = parts
    inputs = training_inputs(log, training, replace(SMALL, use_in_batch_negatives=use_in_batch_negatives))
    batch = inputs.batches.make(np.arange(64), np.random.default_rng(0))
    several = random_towers(training, ensemble_size=3)
    loss = batch_loss(several, batch, inputs, "cpu")
    loss.backward()
    losses = []
    for place in range(3):
        alone = random_towers(training, ensemble_size=1)
        towers: list[tuple[torch.nn.Module, torch.nn.Module]] = [
            (alone.item_tower.towers[0], several.item_tower.towers[place]),
            (alone.user_tower.towers[0], several.user_tower.towers[place]),
        ]
        for tower, like in towers:
            tower.load_state_dict(like.state_dict())
        own = batch_loss(alone, batch, inputs, "cpu")
        own.backward()
        losses.append(own.item())
        for tower, like in towers:
            for expected, found in zip(tower.parameters(), like.parameters(), strict=True):
                assert found.grad is not None
                assert expected.grad is not None
                torch.testing.assert_close(3 * found.grad.to_dense(), expected.grad.to_dense(), rtol=1e-4, atol=1e-6)
    assert loss.item() == pytest.approx(np.mean(losses), rel=1e-5)
    assert np.ptp(losses) > 0.01


def test_every_weight_of_an_ensemble_is_trained(parts):
    """The optimizers know the id embeddings of every pair."""
    log, training = parts
    inputs = training_inputs(log, training, SMALL)
    batch = inputs.batches.make(np.arange(64), np.random.default_rng(0))
    model = random_towers(training, ensemble_size=2).train()
    before = weights(model)
    training_module.Optimizers(model, 0.001).step(batch_loss(model, batch, inputs, "cpu"))
    still = {name for name, _ in model.named_parameters() if torch.equal(before[name], model.state_dict()[name])}
    of_no_effect = {f"user_tower.towers.{place}.content_weight.bias" for place in range(2)}  # a softmax does not see it
    assert still - of_no_effect == {"pair_bias"}, "the loss of sampled pairs alone moves it"


@pytest.mark.parametrize("use_in_batch_negatives", [True, False], ids=["softmax", "pairs"])
def test_popularity_is_in_the_logits(parts, use_in_batch_negatives):
    log, training = parts
    inputs = training_inputs(log, training, replace(SMALL, use_in_batch_negatives=use_in_batch_negatives))
    batch = inputs.batches.make(np.arange(64), np.random.default_rng(0))
    model = random_towers(training)

    def loss(popularity):
        return batch_loss(model, replace(batch, popularity=popularity), inputs, "cpu").item()

    whole = loss(batch.popularity)
    assert loss(batch.popularity[::-1].copy()) != pytest.approx(whole, rel=1e-3)
    # A softmax is invariant to a constant; the loss of pairs is not.
    assert (loss(batch.popularity + 3) == pytest.approx(whole, rel=1e-5)) == use_in_batch_negatives
    # Without the cosine, only popularity is left.
    negatives = batch.negatives
    positive, negative = (LOGIT_ADJUSTMENT * batch.popularity[places] for places in (batch.positives, negatives.places))
    if isinstance(negatives, InBatchNegatives):
        weight = np.where(negatives.collisions, 0, np.exp(negative - negatives.log_expected_count))
        expected = np.log1p(weight.sum(axis=1) / np.exp(positive)).mean()
    else:
        bias = model.pair_bias.item()
        expected = np.log1p(np.exp(-positive - bias)).mean() + np.log1p(np.exp(negative + bias)).mean()
    torch.nn.init.constant_(model.log_scale, -70)
    assert loss(batch.popularity) == pytest.approx(expected, rel=1e-4)


def test_the_average_of_the_weights_is_what_is_validated_and_kept(parts, tmp_path, monkeypatch):
    passed, validated, models = [], [], []
    step = training_module.Optimizers.step

    class Recorded(training_module.Optimizers):
        def __init__(self, model, learning_rate):
            super().__init__(model, learning_rate)
            models.append(model)

        def step(self, loss, exchange=None):
            step(self, loss, exchange)
            passed.append(weights(models[0]))

    def validate(model):
        validated.append(weights(model))
        return {"score": len(validated)}

    monkeypatch.setattr(training_module, "Optimizers", Recorded)
    result = run(parts, tmp_path / "c.pt", validate, num_epochs=3, learning_rate=0.01)
    steps = len(passed) // 3
    assert steps > STEPS_PER_AVERAGE
    names = [name for name, _ in models[0].named_parameters()]
    average: dict[str, torch.Tensor] = {}
    n = 0
    for epoch in range(3):
        taken = sorted({*range(STEPS_PER_AVERAGE - 1, steps, STEPS_PER_AVERAGE), steps - 1})  # the last one too
        for now in [passed[epoch * steps + step] for step in taken]:
            decay = n / (AVERAGE_POWER + n)
            average = {name: decay * average.get(name, now[name]) + (1 - decay) * now[name] for name in names}
            n += 1
        for name in names:
            torch.testing.assert_close(validated[epoch][name], average[name], rtol=1e-4, atol=1e-6)
    assert_same_weights(result.model, validated[2])
    assert not torch.equal(average["log_scale"], passed[-1]["log_scale"])
