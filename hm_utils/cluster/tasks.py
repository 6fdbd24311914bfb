"""Plain Ray tasks, a few at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ray import ObjectRef


def start_all(function: Callable[..., Any], calls: Iterable[tuple], at_once: int, returns: int = 1) -> list[list]:
    """Start a task for the arguments of each call, at most ``at_once`` under way, as ``num_workers`` asks.

    A task whose worker dies is started again by Ray, and so are the tasks that made what it needs and is lost, so
    ``function`` must do the same when it is called twice.

    Returns:
        For each call the references of its ``returns`` results, of which the last is waited for.
    """
    import ray

    task = ray.remote(function).options(num_cpus=1, num_returns=returns)
    under_way: list[ObjectRef] = []
    results = []
    for call in calls:
        if len(under_way) >= at_once:
            _, under_way = ray.wait(under_way, num_returns=1)
        started = task.remote(*call)
        results.append([started] if returns == 1 else started)
        under_way.append(results[-1][-1])
    return results


def values_of(references: list[ObjectRef]) -> list[Any]:
    """What the tasks returned; an error of a task is raised as it would be without Ray."""
    import ray

    try:
        return ray.get(references)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None
