"""Plain Ray tasks, a few at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any


def start_all(function: Callable[..., Any], calls: Iterable[tuple], at_once: int, returns: int = 1) -> list[Any]:
    """Start a task for the arguments of each call, with at most ``at_once`` tasks running.

    Ray restarts a task whose worker dies, and the tasks that made its lost inputs. ``function`` must therefore do the
    same when it is called twice.

    Returns:
        For each call the reference of its result; with ``returns`` above 1, the list of its results' references.
    """
    import ray

    task = ray.remote(function).options(num_cpus=1, num_returns=returns)
    running: list[Any] = []
    results = []
    for call in calls:
        if len(running) >= at_once:
            _, running = ray.wait(running, num_returns=1)
        results.append(task.remote(*call))
        running.append(results[-1] if returns == 1 else results[-1][-1])
    return results


def values_of(references: list[Any]) -> list[Any]:
    """The tasks' results; an error of a task is raised as it would be without Ray."""
    import ray

    try:
        return ray.get(references)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None
