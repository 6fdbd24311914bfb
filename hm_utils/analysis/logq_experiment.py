"""A small experiment on the logQ correction (notebook 03); it takes seconds."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from hm_utils.model.losses import sampled_softmax_loss


def popularity_learned(
    sales: npt.NDArray[np.integer], articles: int = 200, batch: int = 256, steps: int = 500, seed: int = 0
) -> pd.DataFrame:
    """The popularity that in-batch softmax learns, with and without the logQ correction.

    The model has one logit per article and no customer. It is trained with the project's loss on batches drawn from
    the real sales; the negatives of an example are the rest of its batch. The right answer is known: the softmax of
    the logits should equal the articles' shares of the sales.

    Args:
        sales: ``[n_articles]`` counts of a week, for instance; only the ``articles`` best-sellers are used.

    Returns:
        Index: rank by sales from 1; columns ``share of sales``, ``with logQ``, ``without logQ``.
    """
    best = np.sort(sales)[::-1][:articles]
    share = torch.from_numpy(best[best > 0] / best.sum()).float()
    table = pd.DataFrame({"share of sales": share.numpy()}, index=pd.RangeIndex(1, len(share) + 1, name="rank"))
    expected = torch.log((batch - 1) * share)
    for name, correction in (("with logQ", expected), ("without logQ", torch.zeros_like(expected))):
        draws = torch.Generator().manual_seed(seed)
        logits = torch.zeros(len(share), requires_grad=True)
        optimizer = torch.optim.Adam([logits], lr=0.05)
        average = torch.zeros_like(share)
        for step in range(steps):
            drawn = torch.multinomial(share, batch, replacement=True, generator=draws)
            collisions = drawn[:, None] == drawn[None, :]
            loss = sampled_softmax_loss(
                logits[drawn], logits[drawn].expand(batch, batch), correction[drawn], collisions
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if step >= steps // 2:  # the mean of the second half: single steps are noisy
                average += torch.softmax(logits.detach(), dim=0) / (steps - steps // 2)
        table[name] = average.numpy()
    return table
