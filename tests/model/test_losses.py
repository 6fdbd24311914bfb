"""The losses against independent formulas, and the effect of logQ."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.stats import spearmanr

from hm_utils.model.losses import pair_loss, sampled_softmax_loss


def random_case(n=6, m=9, seed=0):
    generator = torch.Generator().manual_seed(seed)
    positive = torch.randn(n, generator=generator)
    negative = torch.randn(n, m, generator=generator)
    log_count = torch.randn(m, generator=generator)
    collisions = torch.rand(n, m, generator=generator) < 0.3
    return positive, negative, log_count, collisions


def test_sampled_softmax_equals_the_formula():
    positive, negative, log_count, collisions = random_case()
    expected = []
    for i in range(len(positive)):
        total = np.exp(positive[i].item())
        for j in range(negative.shape[1]):
            if not collisions[i, j]:
                total += np.exp(negative[i, j].item()) / np.exp(log_count[j].item())
        expected.append(np.log(total) - positive[i].item())
    assert sampled_softmax_loss(positive, negative, log_count, collisions).item() == pytest.approx(np.mean(expected))


def test_every_article_sampled_once_is_the_full_softmax():
    torch.manual_seed(1)
    logits = torch.randn(5, 12)
    own = torch.tensor([0, 3, 3, 11, 7])
    collisions = torch.arange(12)[None, :] == own[:, None]
    loss = sampled_softmax_loss(logits[torch.arange(5), own], logits, torch.zeros(12), collisions)
    assert loss.item() == pytest.approx(F.cross_entropy(logits, own).item(), rel=1e-6)


def test_a_collision_is_no_negative():
    positive, negative, log_count, collisions = random_case()
    before = sampled_softmax_loss(positive, negative, log_count, collisions)
    assert sampled_softmax_loss(positive, negative + 50 * collisions, log_count, collisions) == before
    assert sampled_softmax_loss(positive, negative + 1.0 * ~collisions, log_count, collisions) > before


def learned_ranking_agreement(correction: float) -> float:
    """Fit free logits of a toy catalogue from in-batch negatives, with ``correction`` times logQ.

    Two groups of customers buy 30 articles with skewed, different, known probabilities. The minimum of the full
    softmax ranks each group's articles by these probabilities. Returns the rank correlation with them, of the worse
    group.
    """
    rng = np.random.default_rng(0)
    articles, batch = 30, 64
    popular = rng.permutation(np.arange(1, articles + 1) ** -1.2)
    wanted = np.stack([popular * np.exp(rng.normal(0, 0.5, articles)) for _ in range(2)])
    wanted /= wanted.sum(axis=1, keepdims=True)
    log_count = torch.log((batch - 1) * torch.tensor(wanted.mean(axis=0)).float())
    logits = torch.zeros(2, articles, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=0.05)
    cumulative = wanted.cumsum(axis=1)
    for _ in range(500):
        group = rng.integers(2, size=batch)
        bought = torch.tensor((rng.random((batch, 1)) > cumulative[group]).sum(axis=1).clip(max=articles - 1))
        ours = logits[torch.tensor(group)]
        loss = sampled_softmax_loss(
            ours[torch.arange(batch), bought],
            ours[:, bought],
            correction * log_count[bought],
            bought[:, None] == bought[None, :],
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return min(spearmanr(logits[g].detach(), wanted[g]).statistic for g in range(2))


@pytest.mark.parametrize("correction", [1.0, 0.0, -1.0], ids=["logQ", "dropped", "sign flipped"])
def test_logq_alone_recovers_the_ranking_of_the_full_softmax(correction):
    agreement = learned_ranking_agreement(correction)
    assert agreement > 0.95 if correction == 1 else agreement < 0.7


def test_pair_loss_is_binary_cross_entropy_with_both_sides_weighing_the_same():
    torch.manual_seed(2)
    positive, negative = torch.randn(8), torch.randn(8, 4)
    expected = F.binary_cross_entropy_with_logits(positive, torch.ones(8)) + F.binary_cross_entropy_with_logits(
        negative, torch.zeros(8, 4)
    )
    assert pair_loss(positive, negative).item() == pytest.approx(expected.item(), rel=1e-6)
