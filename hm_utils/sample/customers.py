"""The customers of the sample: the seven columns of ``customers.csv``, and the traits that determine their purchases.

The traits are a point in a latent space of styles, a price level, an affinity to each index group, and age. Age shifts
the other traits, so it carries information about customers without a history.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from hm_utils.arrays import Float32, Float64, Int32
from hm_utils.sample.constants import LOYALTY_MAX, LOYALTY_SHAPE

# Ages, and the share of customers younger than each. The density has two peaks, at 21 and at 51.
_AGES = (16, 18, 19, 20, 21, 22, 23, 25, 27, 30, 33, 35, 40, 45, 48, 50, 52, 55, 57, 60, 62, 65, 70, 80, 99)
_AGE_SHARES = (
    0.0, 0.018, 0.046, 0.075, 0.112, 0.150, 0.187, 0.254, 0.322, 0.421, 0.508, 0.550, 0.620, 0.689, 0.737, 0.777,
    0.820, 0.871, 0.902, 0.938, 0.955, 0.973, 0.988, 0.998, 1.0,
)  # fmt: skip

# The customer of the documentation's examples, in every sample.
EXAMPLE_CUSTOMER = "00007d2de826758b65a93dd24ce629ed66842531df6699338c5570910a014cc2"

N_STYLE_TRAITS = 8
N_INDEX_GROUPS = 5  # Ladieswear, Divided, Menswear, Baby/Children, Sport
N_TRAITS = N_STYLE_TRAITS + 1 + N_INDEX_GROUPS + 1  # styles, price, index groups, age


@dataclass(frozen=True)
class Customers:
    """The customers, sorted by id.

    Attributes:
        table: ``[c]`` rows, the 7 columns of ``customers.csv``.
        traits: ``[c, N_TRAITS]``; they determine the segments (see :mod:`hm_utils.sample.preferences`).
        visits: ``[c]`` number of visits in the whole log, 0 for customers who never buy.
        budget: ``[c]`` log ratio of their basket sizes to the usual one.
        online: ``[c]`` share of visits that are online.
        loyalty: ``[c]`` how much more often than the mean they repurchase.
    """

    table: pd.DataFrame
    traits: Float32
    visits: Int32
    budget: Float32
    online: Float32
    loyalty: Float32


def hex_ids(n: int, rng: np.random.Generator) -> npt.NDArray[np.bytes_]:
    """``[n]`` distinct random ids of 64 hexadecimal digits, sorted."""
    return np.sort(np.frombuffer(rng.bytes(32 * n).hex().encode(), dtype="S64"))


def make_customers(n: int, rng: np.random.Generator) -> Customers:
    """Draw ``n`` customers."""
    age = np.floor(np.interp(rng.random(n), _AGE_SHARES, _AGES))
    # The newsletter and the two flags are correlated. Subscribers buy a little more often, and more of it online.
    reader = rng.random(n) < 0.352
    flagged = np.where(reader, rng.random(n) < 0.955, rng.random(n) < 0.023)
    active = flagged & (rng.random(n) < 0.98)
    frequency = np.where(reader, "Regularly", "NONE").astype(object)
    draw = rng.random(n)
    frequency[draw < 0.011] = None
    frequency[draw > 0.9995] = "Monthly"
    club = rng.choice(
        np.array(["ACTIVE", "PRE-CREATE", None, "LEFT CLUB"], dtype=object), n, p=[0.927, 0.0676, 0.005, 0.0004]
    )
    ids = hex_ids(n, rng).astype("U64")
    example = min(int(np.searchsorted(ids, EXAMPLE_CUSTOMER)), n - 1)
    ids[example] = EXAMPLE_CUSTOMER  # in the place of a neighbour, so the order stays
    postcodes = hex_ids(max(2, n // 4), rng)
    # One customer in eleven has the postal code that stands for a missing address, as in the real data.
    where = np.where(rng.random(n) < 0.09, 0, rng.integers(1, len(postcodes), n))
    table = pd.DataFrame(
        {
            "customer_id": ids,
            "FN": np.where(flagged, 1.0, np.nan),
            "Active": np.where(active, 1.0, np.nan),
            "club_member_status": club,
            "fashion_news_frequency": frequency,
            "age": np.where(rng.random(n) < 0.012, np.nan, age),
            "postal_code": postcodes.astype("U64")[where],
        }
    )
    rate = rng.gamma(0.40, 14.4, n) * np.where(reader, 1.15, 0.92)
    visits = np.where(rng.random(n) < 0.007, 0, 1 + rng.poisson(rate)).astype(np.int32)
    visits[example] = max(visits[example], 9)
    online = rng.beta(0.9, 0.62, n) + np.where(reader, 0.05, 0.0)
    return Customers(
        table=table,
        traits=_traits(age, rng),
        visits=visits,
        budget=rng.normal(0, 0.55, n).astype(np.float32),
        online=np.clip(online, 0.0, 1.0).astype(np.float32),
        loyalty=rng.gamma(LOYALTY_SHAPE, 1 / LOYALTY_SHAPE, n).clip(max=LOYALTY_MAX).astype(np.float32),
    )


def _traits(age: Float64, rng: np.random.Generator) -> Float32:
    """``[n, N_TRAITS]``: styles, price level, index groups, and age in decades from 36."""
    n = len(age)
    decade = (age - 36) / 10
    styles = rng.normal(0, 1, (n, N_STYLE_TRAITS))
    # In the order of vocabularies.STYLES: younger customers prefer "street" and "glam", older ones "tailored", "cosy".
    styles += np.tanh(decade)[:, None] * np.array([0.1, 0.6, 0.1, -0.8, -0.2, 0.2, -0.6, 0.5])
    price = rng.normal(0, 1, n) + 0.35 * np.tanh(decade)
    parent = np.exp(-(((age - 35) / 6) ** 2))
    groups = rng.normal(0, 0.9, (n, N_INDEX_GROUPS))
    groups += np.stack([0.3 * decade, -0.7 * decade, 0.0 * age, 2.0 * parent, -0.2 * decade], axis=1)
    return np.column_stack([styles, price, groups, decade]).astype(np.float32)
