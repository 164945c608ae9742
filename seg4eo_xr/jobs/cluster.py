"""Where the tiles of a job run: the cluster at hand, or one made for the job."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import dask
from dask.system import CPU_COUNT
from distributed import Client, LocalCluster, Nanny, Scheduler, SpecCluster
from distributed.client import ClosedClientError
from distributed.comm.core import CommClosedError

from seg4eo_xr.running import active_client

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seg4eo_xr.inference.job_options import JobOptions

_GONE = (CommClosedError, ClosedClientError)

_HOST = "127.0.0.1"
# Threads of a worker hand tiles to the threads that compute; two, so that tiles can overlap.
_FEWEST_THREADS = 2


@contextmanager
def may_be_gone(client: Client) -> Iterator[None]:
    """Do what tidies up at a scheduler; one that is gone is what another error is about."""
    try:
        yield
    except _GONE:
        pass
    except AttributeError:
        if client.scheduler is not None:  # a client that was closed has none
            raise


class JobCluster(NamedTuple):
    """The workers of a job.

    Parameters
    ----------
    client
        Connected to them.
    here
        Whether the only worker is this process.
    threads
        Threads that a worker may compute with; None where the workers know best.
    """

    client: Client
    here: bool
    threads: int | None


@contextmanager
def job_cluster(options: JobOptions, *, gpus: int) -> Iterator[JobCluster]:
    """Connect to the cluster that a job asks for.

    Parameters
    ----------
    options
        An address, or how many processes to start. With neither the client in use is taken, and
        where there is none, this process works, or one process a GPU where there are several.
    gpus
        Accelerators that the job may use on this machine.

    Yields
    ------
    JobCluster

    Raises
    ------
    OSError
        If there is no scheduler at the address.
    TimeoutError
        If it has no worker.
    """
    active = active_client()
    if options.scheduler is not None:
        with _connected(options.scheduler) as client:
            yield _ready(client, options)
    elif active is not None:
        yield _ready(active, options)
    else:
        processes = options.workers or (gpus if gpus > 1 else 0)
        threads = -(-CPU_COUNT // (processes or 1))
        with (
            dask.config.set(_own_settings(options.retries)),
            _local_cluster(processes, threads, gpus) as cluster,
            _client(cluster) as client,
        ):
            yield JobCluster(client, not processes, threads)


def _own_settings(retries: int) -> dict[str, Any]:
    """Settings of dask for a cluster that is made here."""
    # Of a cluster within a process dask would tell the machine's address, where nobody listens.
    link = dask.config.get("distributed.dashboard.link").replace("{host}", _HOST)
    return {
        "distributed.scheduler.allowed-failures": retries,
        "distributed.dashboard.link": link,
        # It may stop Python 3.11 for ever (https://github.com/python/cpython/issues/106883).
        "distributed.worker.profile.enabled": False,
    }


@contextmanager
def _connected(address: str) -> Iterator[Client]:
    try:
        client = _client(address)
    except (OSError, ValueError) as error:
        raise OSError(
            f"there is no dask scheduler at {address!r} (scheduler): {error}; give its address, "
            "as tcp://host:8786"
        ) from error
    with client:
        yield client


def _client(cluster: Any) -> Client:
    # The caller's own clients stay what they are.
    return Client(cluster, set_as_default=False)  # type: ignore[no-untyped-call]


def _ready(client: Client, options: JobOptions) -> JobCluster:
    # A cluster that adapts to its load starts no worker before there is something to do.
    work = client.submit(int, pure=False)
    try:
        client.wait_for_workers(1, timeout=options.no_workers_timeout)
    except TimeoutError as error:
        raise TimeoutError(
            f"the cluster {client.dashboard_link or client} has no worker after "
            f"{options.no_workers_timeout:g} s (no_workers_timeout); start some, or leave the "
            "cluster away to work on this machine"
        ) from error
    finally:
        work.release()  # type: ignore[no-untyped-call]
    return JobCluster(client, here=False, threads=None)


def _local_cluster(processes: int, threads: int, gpus: int) -> Any:
    if not processes:
        return LocalCluster(  # type: ignore[no-untyped-call]
            n_workers=1,
            threads_per_worker=max(_FEWEST_THREADS, threads),
            processes=False,
            # A limit would stop the only worker, and tiles bound their memory themselves.
            memory_limit=0,
            dashboard_address=f"{_HOST}:0",
        )
    workers = {
        number: {
            "cls": Nanny,
            "options": {
                "nthreads": max(_FEWEST_THREADS, threads),
                "memory_limit": 1 / processes,
                "host": _HOST,
                "dashboard_address": f"{_HOST}:0",
                "env": _environment(number, gpus),
                "preload": [*_preloads(), "seg4eo_xr.jobs.own_worker"],
            },
        }
        for number in range(processes)
    }
    scheduler = {
        "cls": Scheduler,
        "options": {"host": _HOST, "dashboard": True, "dashboard_address": f"{_HOST}:0"},
    }
    return SpecCluster(workers, scheduler)  # type: ignore[no-untyped-call]


def _preloads() -> list[str]:
    """What the user has workers load."""
    configured = dask.config.get("distributed.worker.preload")
    return [configured] if isinstance(configured, str) else list(configured)


def _environment(number: int, gpus: int) -> dict[str, str]:
    """One GPU a process, taken in turn."""
    if not gpus:
        return {}
    visible = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(gpus)))
    devices = visible.split(",")
    return {"CUDA_VISIBLE_DEVICES": devices[number % len(devices)]}


def require_same_package(client: Client) -> None:
    """Check that scheduler and workers have this package and torch, of the versions that are here.

    Raises
    ------
    ImportError
        If one has not; the message names it.
    """
    probe = _version_probe()
    ours = probe()
    found_on = {f"worker {worker}": theirs for worker, theirs in client.run(probe).items()}
    # It opens the tasks that pass through it.
    found_on["the scheduler"] = client.run_on_scheduler(probe)  # type: ignore[no-untyped-call]
    for place, theirs in found_on.items():
        wrong = [name for name in ours if theirs[name] != ours[name]]
        if wrong:
            found = ", ".join(f"{name} {theirs[name] or 'not installed'}" for name in wrong)
            wanted = " ".join(f"{name}=={ours[name]}" for name in wrong)
            raise ImportError(
                f"{place} has {found}, and this machine has {wanted}; the scheduler and every "
                f"worker of a job need the same: install {wanted} there"
            )


def _version_probe() -> Any:
    def versions() -> dict[str, str | None]:
        """Travels by value, since a worker may not have this package."""
        from importlib import import_module
        from importlib.metadata import PackageNotFoundError, version

        found: dict[str, str | None] = {}
        try:
            found["seg4eo_xr"] = import_module("seg4eo_xr").__version__
        except ImportError:
            found["seg4eo_xr"] = None
        try:
            found["torch"] = version("torch")
        except PackageNotFoundError:
            found["torch"] = None
        return found

    return versions
