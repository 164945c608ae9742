"""Running dask tasks that write, so that none is left writing when one has failed."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import dask
import dask.threaded
from dask.base import compute
from dask.system import CPU_COUNT

if TYPE_CHECKING:
    from collections.abc import Sequence

_THREADS = (None, "threads", "threading")


def run_to_the_end(tasks: Sequence[Any]) -> None:
    """Compute tasks on whatever dask is set to, for what they do and not for what they return.

    dask lets an error out while other tasks are still running. Whoever then removes or rewrites
    what they write to loses the race now and then; so this waits for them.

    Parameters
    ----------
    tasks
        Delayed objects or other dask collections.

    Raises
    ------
    Exception
        That of the first task that failed.
    """
    client = active_client()
    if client is not None:
        _run_on_cluster(client, tasks)
    elif dask.config.get("scheduler", None) in _THREADS and dask.config.get("pool", None) is None:
        workers = dask.config.get("num_workers", None) or CPU_COUNT
        with ThreadPoolExecutor(workers) as pool, dask.config.set(pool=pool):
            # Named, since dask would import distributed to look for a cluster.
            compute(*tasks, scheduler=dask.threaded.get)
    else:
        compute(*tasks)


def active_client() -> Any:
    """Return the client that dask would use, without importing distributed for nothing."""
    if "distributed" not in sys.modules:
        return None
    from distributed import get_client

    try:
        return get_client()
    except ValueError:
        return None


def _run_on_cluster(client: Any, tasks: Sequence[Any]) -> None:
    from distributed import wait

    futures = client.compute(list(tasks))
    try:
        wait(futures)  # type: ignore[no-untyped-call]
    except BaseException:
        client.cancel(futures)
        raise
    client.gather(futures)
