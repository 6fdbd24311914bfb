"""Measures of vectors with known values, the demonstration of logQ, and the figures of both."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from hm_utils.analysis.logq_experiment import popularity_learned
from hm_utils.plotting import tower_diagram, training_figures
from hm_utils.training import vector_health
from hm_utils.training.fit import training_inputs
from hm_utils.training.loop import TrainingSettings
from tests.helpers.data import random_log
from tests.helpers.figures import check_figure
from tests.helpers.snapshots import random_towers, random_training
from tests.helpers.vectors import unit


def test_alignment_and_uniformity() -> None:
    rng = np.random.default_rng(0)
    spread = unit(rng.normal(size=(400, 64)))
    assert vector_health.alignment(spread, spread) == 0
    assert vector_health.alignment(spread, -spread) == pytest.approx(4)
    assert vector_health.uniformity(spread) == pytest.approx(-4, abs=0.15)
    assert vector_health.uniformity(np.tile(spread[:1], (50, 1))) == pytest.approx(0, abs=1e-5)
    assert vector_health.uniformity(spread[:1]) == 0
    one, other = spread[:2]
    distance = np.square(one - other).sum()
    assert vector_health.uniformity(spread[:2]) == pytest.approx(-2 * distance)


def test_effective_rank_counts_the_dimensions_in_use() -> None:
    rng = np.random.default_rng(0)
    full = rng.normal(size=(5_000, 16))
    assert vector_health.effective_rank(full) == pytest.approx(16, rel=0.01)
    collapsed = np.concatenate([full[:, :4], np.zeros((5_000, 12))], axis=1)
    assert vector_health.effective_rank(collapsed) == pytest.approx(4, rel=0.01)
    shares = vector_health.spectrum(collapsed)
    assert shares.sum() == pytest.approx(1)
    assert (np.diff(shares) <= 1e-12).all()
    assert shares[4:].sum() == pytest.approx(0, abs=1e-9)


@pytest.fixture(scope="module")
def probed():
    log = random_log()
    training = random_training(log, 40)
    inputs = training_inputs(log, training, TrainingSettings(batch_size=64, history_length=5))
    return random_towers(training), inputs, vector_health.probe_batch(inputs.batches), training


def test_measuring_the_health_of_a_model_does_not_change_it(probed) -> None:
    model, inputs, batch, _ = probed
    before = {name: value.clone() for name, value in model.state_dict().items()}
    numbers = vector_health.watch(lambda model: {"score": 1.0}, batch, inputs)(model)
    assert numbers.pop("score") == 1
    assert all(name.startswith(vector_health.PREFIX) for name in numbers)
    assert all(np.isfinite(value) for value in numbers.values())
    assert numbers["health: gradient, item tower"] > 0
    assert numbers["health: gradient, user tower"] > 0
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert numbers == vector_health.health(model, batch, inputs), "the second measurement differs"


def test_figures_of_health(probed) -> None:
    model, inputs, batch, training = probed
    rows = [{"epoch": epoch, "MAP@12": 0.1, **vector_health.health(model, batch, inputs)} for epoch in (1, 2)]
    numbers = vector_health.by_epoch(pd.DataFrame(rows))
    assert list(numbers.index) == [1, 2]
    assert "MAP@12" not in numbers
    check_figure(training_figures.vector_health(numbers, best_epoch=2))
    norms = vector_health.identity_norms(model, training)
    assert norms["articles"].sum() == len(training.encoders.article["article_id"].values)
    _, items = vector_health.encode(model, batch, inputs)
    check_figure(training_figures.dimensions_and_norms(vector_health.spectrum(items[:, :8]), norms))
    figure = tower_diagram.two_towers(model.config, 5)
    assert any("8 of the id" in text.get_text() for text in figure.axes[0].texts)


def test_logq_learns_the_shares_of_sales_that_are_lost_without_it() -> None:
    # As in a shop, no article is more than a small part of a batch: equal articles are masked.
    sales = np.append(np.geomspace(400, 20, 60).astype(int), 0)
    learned = popularity_learned(sales)
    assert len(learned) == 60, "an article without sales has no share to learn"
    share = learned["share of sales"]
    assert np.abs(np.log(learned["with logQ"] / share)).max() < 0.15
    without = learned["without logQ"]
    assert share.max() / share.min() == 20
    assert without.max() / without.min() < 1.3
    check_figure(training_figures.popularity_learned(learned))
