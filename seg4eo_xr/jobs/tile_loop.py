"""The client's side of a job: tiles go to the workers a few at a time, and their answers come back.

The number of tiles that the scheduler knows of is bounded, answers are tiny, and each is let go of
as it comes, so a job of a hundred thousand tiles needs no more memory than one of a hundred.
"""

from __future__ import annotations

import time
import uuid
from itertools import islice
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from distributed import KilledWorker

from seg4eo_xr.jobs.cluster import may_be_gone

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from distributed import Client, Future

    from seg4eo_xr.geometry.tiles import Tile
    from seg4eo_xr.inference.job_options import JobOptions

T = TypeVar("T")

# Tiles that the scheduler holds for each one that a worker can run: the next is there at once.
_TILES_A_THREAD = 2
_LOOK_SECONDS = 1.0
_COUNT_SECONDS = 5.0


def run_tiles(
    client: Client,
    tiles: Iterable[Tile],
    work: Callable[[Tile], T],
    options: JobOptions,
    *,
    on_done: Callable[[Tile, T], None],
    slots: int | None = None,
) -> dict[Tile, BaseException]:
    """Run a function on every tile, on the workers of a cluster.

    Parameters
    ----------
    client
        The cluster.
    tiles
        What to do; taken one by one as there is room.
    work
        The function; small, since it is sent with every tile. What it returns has to be small too.
    options
        Retries and time limits.
    on_done
        Called here with each tile and what `work` returned, in the order in which they finish.
    slots
        Tiles that a worker runs at a time, where that is fewer than it has threads.

    Returns
    -------
    dict
        Tiles that failed, and why. With `options.max_failures` of them the rest is not tried.

    Raises
    ------
    TimeoutError
        If there are no workers, or nothing was finished, for longer than `options` allow.
    ConnectionError
        If the scheduler is gone.
    """
    loop = _TileLoop(client, work, options, on_done, slots)
    failures = loop.run(tiles)
    # A worker that dies takes the tiles beside the one that killed it along: these get another go,
    # one at a time.
    killed = [tile for tile, error in failures.items() if isinstance(error, KilledWorker)]
    if killed and len(failures) < options.max_failures:
        for tile in killed:
            del failures[tile]
            failures |= loop.run([tile])
    return failures


class _TileLoop(Generic[T]):
    """Tiles under way and what is known of them."""

    def __init__(
        self,
        client: Client,
        work: Callable[[Tile], T],
        options: JobOptions,
        on_done: Callable[[Tile, T], None],
        slots: int | None,
    ) -> None:
        self.client, self.work, self.options, self.on_done = client, work, options, on_done
        self.slots = slots
        self.run_id = uuid.uuid4().hex[:8]
        self.tries = 0
        self.under_way: dict[Future[Any], Tile] = {}
        self.finished: SimpleQueue[Future[Any]] = SimpleQueue()
        self.failures: dict[Tile, BaseException] = {}
        self.counted, self.room = 0.0, 1
        self.last_worker = self.last_tile = time.monotonic()

    def run(self, tiles: Iterable[Tile]) -> dict[Tile, BaseException]:
        """Run tiles until all are finished or too many have failed."""
        self.failures, waiting = {}, iter(tiles)
        self.last_worker = self.last_tile = time.monotonic()
        try:
            while len(self.failures) < self.options.max_failures:
                self._require_open()
                for tile in islice(waiting, max(0, self._room() - len(self.under_way))):
                    self._submit(tile)
                if not self.under_way:
                    break
                for future in self._take():
                    self._settle(future)
        finally:
            if self.under_way:
                # Where the client or the scheduler is gone, the error under way says so.
                with may_be_gone(self.client):
                    self.client.cancel(list(self.under_way))  # type: ignore[no-untyped-call]
                self.under_way.clear()
        return self.failures

    def _submit(self, tile: Tile) -> None:
        self.tries += 1
        future: Future[Any] = self.client.submit(
            self.work,
            tile,
            # A key of its own for each try: the scheduler remembers failures by their keys.
            key=f"tile-{self.run_id}-{tile.row}.{tile.column}-{self.tries}",
            retries=self.options.retries,
            pure=False,
        )
        self.under_way[future] = tile
        future.add_done_callback(self.finished.put)  # type: ignore[no-untyped-call]

    def _room(self) -> int:
        """Tiles that may be under way; workers come and go, so they are counted now and then."""
        if time.monotonic() - self.counted > _COUNT_SECONDS:
            threads = self.client.nthreads().values()  # type: ignore[no-untyped-call]
            at_once = sum(min(count, self.slots or count) for count in threads)
            self.counted, self.room = time.monotonic(), max(1, _TILES_A_THREAD * at_once)
        return self.room

    def _take(self) -> Iterator[Future[Any]]:
        try:
            yield self.finished.get(timeout=_LOOK_SECONDS)
            while True:
                yield self.finished.get_nowait()
        except Empty:
            self._watch()

    def _settle(self, future: Future[Any]) -> None:
        tile = self.under_way.pop(future, None)
        if tile is None:
            return  # cancelled with an earlier round
        self.last_worker = self.last_tile = time.monotonic()
        if future.status == "error":
            patience = self.options.no_workers_timeout
            self.failures[tile] = future.exception(timeout=patience)  # type: ignore[no-untyped-call]
        elif future.status == "finished":
            self.on_done(tile, future.result(timeout=self.options.no_workers_timeout))
        else:
            self._require_open()
            raise ConnectionError(
                f"the scheduler at {_address(self.client)} is gone or has dropped tile "
                f"{tile.row}.{tile.column}; connect again and go on with resume=True (--resume)"
            )

    def _require_open(self) -> None:
        if self.client.status in ("closing", "closed"):
            raise ConnectionError(
                "the dask client was closed while the job ran; make another and go on with "
                "resume=True (--resume)"
            )

    def _watch(self) -> None:
        now, options = time.monotonic(), self.options
        workers = self.client.nthreads()  # type: ignore[no-untyped-call]
        if workers:
            self.last_worker = now
        elif now - self.last_worker > options.no_workers_timeout:
            raise TimeoutError(
                f"no worker has been connected to {_address(self.client)} for "
                f"{options.no_workers_timeout:g} s (no_workers_timeout); start workers and go on "
                "with resume=True (--resume)"
            )
        if now - self.last_tile > options.stall_timeout:
            raise TimeoutError(
                f"no tile was finished for {options.stall_timeout:g} s (stall_timeout); "
                f"{self._state()}; look at the workers' logs, or allow more time"
            )

    def _state(self) -> str:
        running = self.client.processing()  # type: ignore[no-untyped-call]
        busy = [f"{worker}: {', '.join(map(str, keys))}" for worker, keys in running.items()]
        return f"{len(self.under_way)} tiles are under way, at " + ("; ".join(busy) or "no worker")


def _address(client: Client) -> str:
    return str(client.scheduler.address) if client.scheduler else "no scheduler"
