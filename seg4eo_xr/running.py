"""Running dask tasks that write, so that none is left writing when one has failed."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import dask
import dask.threaded
from dask.base import compute, persist
from dask.system import CPU_COUNT

if TYPE_CHECKING:
    from collections.abc import Sequence

_THREADS = (None, "threads", "threading")
_LOCAL = ("threads", "threading", "sync", "synchronous", "single-threaded", "processes")


def run_to_the_end(tasks: Sequence[Any]) -> Sequence[Any]:
    """Compute tasks that write, on whatever dask is set to.

    dask lets an error out while other tasks are still running. Whoever then removes or rewrites
    what they write to loses the race now and then; so this waits for them.

    Parameters
    ----------
    tasks
        Delayed objects or other dask collections.

    Returns
    -------
    sequence
        What they return.

    Raises
    ------
    Exception
        That of the first task that failed.
    """
    scheduler = dask.config.get("scheduler", None)
    client = active_client()
    # As dask has it: a scheduler that was chosen by name goes before the client in use.
    if client is not None and scheduler not in _LOCAL:
        return _run_on_cluster(client, tasks)
    if scheduler in _THREADS and dask.config.get("pool", None) is None:
        workers = dask.config.get("num_workers", None) or CPU_COUNT
        with ThreadPoolExecutor(workers) as pool:
            # Named, since dask would import distributed to look for a cluster.
            return _kept(tasks, scheduler=dask.threaded.get, pool=pool)
    return _kept(tasks)


def _kept(tasks: Sequence[Any], **how: Any) -> Sequence[Any]:
    # Computing puts one task behind all blocks, for which dask puts off what could be let go of.
    results: Sequence[Any] = compute(*persist(*tasks, **how), scheduler="sync")
    return results


def active_client() -> Any:
    """Return the client that dask would use, without importing distributed for nothing."""
    if "distributed" not in sys.modules:
        return None
    from distributed import get_client

    try:
        return get_client()
    except ValueError:
        return None


def _run_on_cluster(client: Any, tasks: Sequence[Any]) -> list[Any]:
    from distributed import wait

    kept = client.persist(list(tasks))
    try:
        wait(kept)  # type: ignore[no-untyped-call]
    except BaseException:
        client.cancel(kept)
        raise
    results: list[Any] = client.gather(client.compute(kept))
    return results
