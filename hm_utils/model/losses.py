"""The two training losses: softmax over sampled negatives with logQ, and sampled-pair BCE."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def sampled_softmax_loss(
    positive_logits: Tensor, negative_logits: Tensor, log_expected_count: Tensor, collisions: Tensor
) -> Tensor:
    """Cross-entropy of the full softmax, its denominator estimated from sampled negatives.

    A popular article turns up among the negatives more often than a rare one. Dividing each
    negative's ``exp(logit)`` by how often the sampler is expected to draw it makes the sum an
    unbiased estimate of the sum over the catalogue (Yi et al., RecSys 2019). The positive is no
    sample: it is always there, so it is neither corrected nor left among the negatives
    (Khrylchenko et al. 2025, arXiv 2507.09331).

    Args:
        positive_logits: ``[n]`` logit of each example's own article.
        negative_logits: ``[n, m]`` logits of the m sampled articles.
        log_expected_count: ``[m]`` log of the expected number of times that each sampled article is
            drawn into this list of m.
        collisions: ``[n, m]`` bool, true where the sampled article is no negative for the example
            (its own article, or another that the customer bought).

    Returns:
        The mean loss, a scalar.
    """
    corrected = (negative_logits - log_expected_count).masked_fill(collisions, float("-inf"))
    logits = torch.cat([positive_logits.unsqueeze(1), corrected], dim=1)
    return F.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.long, device=logits.device))


def pair_loss(positive_logits: Tensor, negative_logits: Tensor) -> Tensor:
    """Binary cross-entropy on bought (1) and sampled, never bought (0) pairs.

    Args:
        positive_logits: ``[n]``.
        negative_logits: ``[n, k]``, k sampled pairs for each bought one.

    Returns:
        The mean over positives plus the mean over negatives, a scalar: k does not change the balance.
    """
    return F.softplus(-positive_logits).mean() + F.softplus(negative_logits).mean()
