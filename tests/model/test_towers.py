"""The towers give unit vectors that padding does not change; the pairs of an ensemble are independent."""

from dataclasses import replace

import pytest
import torch

from hm_utils.model.towers import DAYS_SINCE_EDGES, TowerConfig, TwoTower

CONFIG = TowerConfig((9, 7, 5, 4), 3, (8, 5), embedding_dim=8, hidden_dims=(16, 12), output_dim=10)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return TwoTower(CONFIG).eval()


def customer_batch(n=5, length=4, seed=0):
    """Attributes, the vectors of ten articles, histories of 0 to 4 of them, their days and mask."""
    generator = torch.Generator().manual_seed(seed)
    attributes = torch.randint(5, (n, 2), generator=generator)
    items = torch.nn.functional.normalize(torch.randn(10, 10, generator=generator), dim=1)
    history = torch.randint(10, (n, length), generator=generator)
    days = torch.randint(1, 500, (n, length), generator=generator)
    mask = torch.arange(length)[None, :] < torch.tensor([0, 1, 2, 3, 4])[:, None]
    return attributes, items, history, days, mask


def test_both_towers_give_unit_vectors(model):
    items = model.item_tower(torch.randint(4, (6, 4)), torch.randn(6, 3))
    users = model.user_tower(*customer_batch())
    assert items.shape == (6, 10)
    assert users.shape == (5, 10)
    for vectors in (items, users):
        torch.testing.assert_close(vectors.norm(dim=1), torch.ones(len(vectors)))


def test_padding_changes_nothing(model):
    attributes, items, history, days, mask = customer_batch()
    expected = model.user_tower(attributes, items, history, days, mask)
    noise = history.masked_fill(~mask, 3), days.masked_fill(~mask, 7), mask
    longer = (
        torch.cat([history, torch.randint(10, (5, 3))], dim=1),
        torch.cat([days, torch.ones(5, 3, dtype=torch.long)], dim=1),
        torch.cat([mask, torch.zeros(5, 3, dtype=torch.bool)], dim=1),
    )
    for padded in (noise, longer):
        torch.testing.assert_close(model.user_tower(attributes, items, *padded), expected)


def test_the_pool_is_the_weighted_sum_of_the_history(model):
    """The input of the tower's network, by the formula: pooled vector, newest purchase, recency."""
    attributes, items, history, days, mask = customer_batch()
    tower = model.user_tower.towers[0]
    torch.nn.init.normal_(tower.content_weight.weight)
    torch.nn.init.normal_(tower.no_history)
    given = []
    tower.mlp.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0]))
    tower(attributes, items, history, days, mask)
    for row in range(len(history)):
        vectors = items[history[row, mask[row]]]
        buckets = torch.bucketize(days[row, mask[row]], tower.edges, right=True)
        weight = torch.softmax(tower.recency_weight(buckets).squeeze(1) + tower.content_weight(vectors).squeeze(1), 0)
        pooled = weight @ vectors if row else tower.no_history
        newest = vectors[0] if row else torch.zeros(10)
        when = weight @ tower.recency(buckets)
        torch.testing.assert_close(given[0][row, :30], torch.cat([pooled, newest, when]))


def test_without_history_the_attributes_decide(model):
    _, items, history, days, mask = customer_batch()
    nothing = torch.zeros_like(mask)
    vectors = model.user_tower(torch.tensor([[1, 2], [1, 2], [3, 4], [1, 2], [1, 2]]), items, history, days, nothing)
    assert torch.isfinite(vectors).all()
    torch.testing.assert_close(vectors[0], vectors[1])
    assert (vectors[0] - vectors[2]).abs().max() > 1e-4


def test_vectors_side_by_side_have_the_mean_of_the_dot_products_and_split_again():
    config = replace(CONFIG, ensemble_size=3)
    torch.manual_seed(0)
    one, other = torch.nn.functional.normalize(torch.randn(2, 3, 4, 10), dim=-1)  # three pairs, four vectors each
    joined = config.side_by_side(list(one))
    assert joined.shape == (4, config.vector_dim) == (4, 30)
    torch.testing.assert_close(joined.norm(dim=1), torch.ones(4))
    mean = torch.stack([(u * v).sum(dim=1) for u, v in zip(one, other, strict=True)]).mean(dim=0)
    torch.testing.assert_close((joined * config.side_by_side(list(other))).sum(dim=1), mean)
    for found, expected in zip(config.apart(joined), one, strict=True):
        torch.testing.assert_close(found, expected)


def test_the_pairs_of_an_ensemble_are_independent():
    torch.manual_seed(1)
    config = replace(CONFIG, ensemble_size=3)
    several = TwoTower(config).eval()
    articles = torch.randint(4, (10, 4)), torch.randn(10, 3)
    attributes, _, *histories = customer_batch()
    items = several.item_tower(*articles)
    users = several.user_tower(attributes, items, *histories)
    for place in range(3):
        alone = TwoTower(CONFIG).eval()
        alone.item_tower.towers[0].load_state_dict(several.item_tower.towers[place].state_dict())
        alone.user_tower.towers[0].load_state_dict(several.user_tower.towers[place].state_dict())
        own = alone.item_tower(*articles)
        torch.testing.assert_close(config.apart(items)[place], own)
        torch.testing.assert_close(config.apart(users)[place], alone.user_tower(attributes, own, *histories))
    first, second, _ = config.apart(items)
    assert (first - second).norm(dim=1).min() > 0.1  # they start elsewhere


def test_an_ensemble_has_a_pair():
    with pytest.raises(ValueError, match="ensemble_size must be 1 or more, not 0"):
        replace(CONFIG, ensemble_size=0)


def test_every_day_has_its_bucket(model):
    bucket = torch.bucketize(torch.tensor([0, 1, 2, 7, 450, 451, 9_999]), model.user_tower.towers[0].edges, right=True)
    assert bucket.tolist() == [0, 1, 2, 5, 15, 16, len(DAYS_SINCE_EDGES)]


def test_gradients_reach_every_weight(model):
    model.train()
    items = model.item_tower(torch.randint(4, (6, 4)), torch.randn(6, 3))
    attributes, _, _, days, mask = customer_batch()
    users = model.user_tower(attributes, items, torch.randint(6, (5, 4)), days, mask)
    (model.scale * (users[:5] * items[:5]).sum() + model.pair_bias).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
