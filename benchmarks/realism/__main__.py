"""How real the synthetic sample is: the scores of simple methods and the margins, beside those of the real data.

    python -m benchmarks.realism                        # the size "sample"; scores are the mean of eight weeks
    python -m benchmarks.realism --size full            # mean of four weeks; a quarter of an hour, 8 GiB
    python -m benchmarks.realism --size full --fit 5    # five rounds of fitting hm_utils/sample/constants.py

Each method ranks the catalogue for the buyers of a week, from the days before it. A score of the sample passes within a
factor of 1.75 of the real one, and one of the full size within 15 %. The exit status is 1 if a figure does not pass.
"""

from __future__ import annotations

import sys
from dataclasses import asdict, replace

import numpy as np
import pandas as pd

from benchmarks import measuring
from benchmarks.realism.margins import MARGINS, POPULARITY, margins
from benchmarks.realism.outcomes import REAL, outcomes
from hm_utils.sample import SIZES, generate
from hm_utils.sample.behaviour import SHARED
from hm_utils.sample.constants import Constants, constants_for

WEEKS = {"sample": 8, "full": 4}
TOLERANCE = {"sample": 1.75, "full": 1.15}

# Constant -> the figure that it moves most, and the direction.
FITTED = {
    "spread": ("best-sellers of 28 days: recall@100", 1),
    "head": ("best-sellers of 28 days: recall@12", 1),
    "trend": ("best-sellers of a week: MAP@12", 1),
    "evergreen": ("best-sellers of all time: MAP@12", 1),
    "launch": ("sales of articles first sold in the week", 1),
    "decline": ("top 100 kept after four weeks", -1),
    "life_weeks": ("articles first sold in the week", -1),
    "taste": ("user-user kNN, popular: MAP@12", 1),
    "age": ("best-sellers by age: MAP@12", 1),
    "concentration": ("strong ranker, active in 30 days: MAP@12", 1),
    "wander": ("strong ranker, dormant: MAP@12", -1),
    "repurchase": ("pairs bought before", 1),
    "repeat_spread": ("repurchase, popular: MAP@12", 1),
    "recall_half": ("own history alone: recall@50", -1),
    "recall_power": ("repurchase gap 50 %", -1),
    "staples": ("repurchase gap 75 %", 1),
}
STEP, LARGEST = 0.5, 1.3  # exponent of a step's ratio, and its limit


def limits(size: str) -> dict[str, tuple[float | None, float, float]]:
    """``(real, lowest, highest)`` of every figure."""
    ratio = TOLERANCE[size]
    scores = {name: (real, (real or 0) / ratio, (real or np.inf) * ratio) for name, real in REAL.items()}
    return {**scores, **MARGINS, **(POPULARITY if size == "full" else {})}


def figures(size: str, constants: Constants | None = None) -> dict[str, float]:
    """Every figure of a sample of that size."""
    sample = generate(size, progress=sys.stderr.isatty(), constants=constants)
    return outcomes(sample, WEEKS[size]) | margins(sample)


def table(found: dict[str, float], size: str) -> pd.DataFrame:
    """One row per figure: the real value, the sample's, their ratio, and whether it passes."""
    allowed = limits(size)
    rows = [
        (name, real, found[name], lowest <= found[name] <= highest) for name, (real, lowest, highest) in allowed.items()
    ]
    made = pd.DataFrame(rows, columns=["figure", "real", "sample", "passes"]).set_index("figure")
    made.insert(2, "ratio", made["sample"] / made["real"].astype(float))
    return made


def stepped(constants: Constants, found: dict[str, float]) -> Constants:
    """The constants after one step towards the real figures."""
    allowed = limits("full")

    def factor(figure: str, sign: int = 1) -> float:
        real = allowed[figure][0] or np.nan
        return float(np.clip((real / max(found[figure], 1e-6)) ** (STEP * sign), 1 / LARGEST, LARGEST))

    values = asdict(constants)
    moved = {name: values[name] * factor(*aim) for name, aim in FITTED.items()}
    shared = np.array([p * factor(f"share {columns[0]}") for p, columns in zip(constants.shared, SHARED, strict=True)])
    shared *= min(1.0, 0.9 / shared.sum())
    return replace(constants, **moved, shared=tuple(shared.tolist()))


def distance(found: dict[str, float]) -> float:
    """Root mean square of the log ratios of the scores to the real ones."""
    logs = [np.log(max(found[name], 1e-6) / real) for name, real in REAL.items() if real]
    return float(np.sqrt(np.mean(np.square(logs))))


def fit(size: str, rounds: int) -> Constants:
    """The constants with the smallest :func:`distance` of ``rounds`` steps from the present ones."""
    constants = constants_for(SIZES[size].articles)
    tried = []
    for number in range(rounds + 1):
        found = figures(size, constants)
        tried.append((distance(found), number, constants))
        print(f"\nround {number}: distance {tried[-1][0]:.3f}\n{constants}")
        print(table(found, size).to_string(float_format="{:.4f}".format), flush=True)
        constants = stepped(constants, found)
    return min(tried)[2]


def main() -> int:
    parser = measuring.parser("realism", __doc__)
    parser.add_argument("--size", choices=list(WEEKS), default="sample")
    parser.add_argument("--fit", type=int, metavar="ROUNDS", help="fit the constants, and print the best")
    options = parser.parse_args()
    if options.fit:
        print(fit(options.size, options.fit))
        return 0
    found = figures(options.size)
    measuring.save(options.json, {"size": options.size, "figures": found})
    made = table(found, options.size)
    print(made.to_string(float_format="{:.4f}".format))
    return 0 if made["passes"].all() else 1


if __name__ == "__main__":
    sys.exit(main())
