"""The options of a job: how a large prediction is cut, spread over workers and watched."""

from __future__ import annotations

from dataclasses import dataclass

from seg4eo_xr.options import OptionSet


@dataclass(frozen=True)
class JobOptions(OptionSet):
    """How a prediction runs as a job of independent tiles."""

    tile_size: int = 8192
    """Side of a tile, in pixels; whole chunks of the map are taken. A tile is what a killed job
    loses at most, and needs some seconds to be worth its bookkeeping."""
    workers: int | None = None
    """Processes to start on this machine; if not given, all runs in this process, or one process a
    GPU where there are several. Without effect where a dask client is in use already."""
    scheduler: str | None = None
    """Address of a running dask scheduler, as tcp://host:8786."""
    retries: int = 2
    """How often a tile that failed is tried again before it is set aside."""
    max_failures: int = 10
    """Number of tiles set aside with which the job gives up, since the cause is not the tiles."""
    no_workers_timeout: float = 120.0
    """Seconds that the job waits for a first worker, and for another one when all are gone."""
    stall_timeout: float = 3600.0
    """Seconds without a finished tile after which the job gives up."""

    def __post_init__(self) -> None:
        for name in ("tile_size", "workers", "max_failures"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        if self.retries < 0:
            raise ValueError(f"retries must be at least 0, got {self.retries}")
        for name in ("no_workers_timeout", "stall_timeout"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be more than 0 seconds, got {getattr(self, name)}")
        if self.scheduler is not None and self.workers is not None:
            raise ValueError(
                f"workers={self.workers} starts processes on this machine, scheduler="
                f"{self.scheduler!r} uses those of a cluster; give one of them"
            )
