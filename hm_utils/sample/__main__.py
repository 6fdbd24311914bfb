"""``python -m hm_utils.sample --out data/sample --size sample --seed 1``"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path

from hm_utils.sample import DEFAULT_SEED, SIZES, write_sample


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m hm_utils.sample", description="Generate a synthetic H&M.")
    parser.add_argument("--out", type=Path, default=Path("data/sample"), help="folder to write (default data/sample)")
    parser.add_argument("--size", choices=list(SIZES), default="sample", help="named size (default sample)")
    parser.add_argument("--customers", type=int, help="number of customers, instead of the size's")
    parser.add_argument("--articles", type=int, help="number of articles, instead of the size's")
    parser.add_argument("--days", type=int, help="days of the log, instead of the size's; it ends on 2020-09-22")
    parser.add_argument("--seed", type=int, default=DEFAULT_SEED)
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
    options = parser.parse_args(arguments)
    numbers = {name: getattr(options, name) for name in ("customers", "articles", "days")}
    started = time.perf_counter()
    try:
        size = replace(SIZES[options.size], **{name: n for name, n in numbers.items() if n is not None})
        out = write_sample(options.out, size, options.seed, progress=not options.quiet)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(
        f"{out}: {size.customers:,} customers, {size.articles:,} articles, {size.days} days "
        f"(seed {options.seed}) in {time.perf_counter() - started:.1f} s"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
