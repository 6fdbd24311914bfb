"""Where the work is done, as the notebooks' parameters ``engine`` and ``num_workers`` say."""

from __future__ import annotations

ENGINES = ("local", "ray")


def check_engine(engine: str, num_workers: int) -> None:
    """Raise ValueError for an engine that there is not, and for workers that it cannot have."""
    if engine not in ENGINES:
        raise ValueError(f'engine must be "local" (this machine) or "ray" (a cluster), not {engine!r}')
    if num_workers < 1:
        raise ValueError(f"num_workers must be 1 or more, not {num_workers}")
    if engine == "local" and num_workers > 1:
        raise ValueError(f'num_workers={num_workers} needs engine="ray": "local" is one process, on all of its cores')
