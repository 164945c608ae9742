"""Progress bars, one for whatever dask computes, and the stream that messages are written to."""

from __future__ import annotations

import contextlib
import sys
import time
import uuid
from typing import TYPE_CHECKING, Any

from dask.callbacks import Callback
from tqdm.auto import tqdm

from seg4eo_xr.running import active_client

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TextIO

# Work that is over by then needs no bar.
DELAY_SECONDS = 2.0
IN_BAR = "in_bar"
"""Attribute of records of the log: whether a bar shows the same."""
_REPORT_SECONDS = 0.25


class MessageStream:
    """A text stream for messages: what cannot be written is dropped, and the work goes on.

    Parameters
    ----------
    stream
        Where to write; None, as Python has it where standard error is closed, drops everything.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write a text, or drop it."""
        # a pipe that nobody reads, a full disk, a stream that is closed
        with contextlib.suppress(OSError, ValueError, AttributeError):
            self._stream.write(text)  # type: ignore[union-attr]
        return len(text)

    def flush(self) -> None:
        """Bring what was written to its place, if that is possible."""
        with contextlib.suppress(OSError, ValueError, AttributeError):
            self._stream.flush()  # type: ignore[union-attr]

    def isatty(self) -> bool:
        """Whether this is a terminal."""
        return self._stream is not None and self._stream.isatty()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def message_stream() -> MessageStream:
    """Return standard error as a stream on which no message can fail."""
    stream: Any = sys.stderr
    return stream if isinstance(stream, MessageStream) else MessageStream(stream)


def new_bar(**options: Any) -> Any:
    """Make a bar on standard error; `options` are those of `tqdm.tqdm`."""
    return tqdm(file=message_stream(), dynamic_ncols=True, **options)


@contextlib.contextmanager
def progress_bar(
    description: str, *, enabled: bool = True, delay: float = DELAY_SECONDS
) -> Iterator[None]:
    """Show a bar on standard error for whatever dask computes inside the block.

    Tasks are counted: those of the local schedulers (synchronous, threads, processes), and those
    that this process sends to a cluster where a `distributed.Client` is active.

    Parameters
    ----------
    description
        What is being done, as "extracting patches".
    enabled
        False shows nothing.
    delay
        Seconds of work before the bar appears.

    Examples
    --------
    >>> import dask.array as da
    >>> with progress_bar("adding up"):
    ...     int(da.ones(4, chunks=2).sum().compute())
    4
    """
    if not enabled:
        yield
        return
    with (
        new_bar(desc=description, unit="task", delay=delay) as bar,
        _LocalTasks(bar),
        _cluster_tasks(bar),
    ):
        yield


class _LocalTasks(Callback):
    """Count the tasks of dask's own schedulers."""

    def __init__(self, bar: Any) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._bar = bar

    def _start_state(self, _graph: Any, state: dict[str, Any]) -> None:
        _extend(self._bar, len(state["ready"]) + len(state["waiting"]))

    def _posttask(self, *_: Any) -> None:
        self._bar.update(1)


def _extend(bar: Any, tasks: int) -> None:
    bar.total = (bar.total or 0) + tasks


@contextlib.contextmanager
def _cluster_tasks(bar: Any) -> Iterator[None]:
    """Count the tasks that a cluster finishes for this process, if there is one."""
    client = active_client()
    if client is None:
        yield
        return
    topic = f"seg4eo-progress-{uuid.uuid4().hex}"

    def show(event: tuple[float, tuple[int, int]]) -> None:
        done, total = event[1]
        bar.total = total
        bar.update(done - bar.n)

    # A bar must never be what stops the work: a cluster may refuse plugins, or be gone at the end.
    with contextlib.suppress(Exception):
        client.subscribe_topic(topic, show)
        client.register_plugin(_task_counter(client.id, topic), name=topic)
    try:
        yield
    finally:
        with contextlib.suppress(Exception):
            client.unregister_scheduler_plugin(topic)
            client.unsubscribe_topic(topic)


def _task_counter(client_id: str, topic: str) -> Any:
    """Make a scheduler plugin that counts a client's tasks and reports under `topic`."""
    from distributed import SchedulerPlugin

    class TaskCounter(SchedulerPlugin):
        """Travels to the scheduler by value, so that a cluster need not have this package."""

        def __init__(self) -> None:
            self.name = topic
            self.keys: set[Any] = set()
            self.done = 0
            self.total = 0
            self.reported = 0.0

        async def start(self, scheduler: Any) -> None:
            self.scheduler = scheduler

        def update_graph(self, scheduler: Any, *, client: str, tasks: Any, **_: Any) -> None:
            if client == client_id:
                new = set(tasks) - self.keys
                self.keys |= new
                self.total += len(new)

        def transition(self, key: Any, start: str, finish: str, *_: Any, **__: Any) -> None:
            if start != "processing" or finish != "memory" or key not in self.keys:
                return
            self.keys.discard(key)
            self.done += 1
            now = time.monotonic()
            if now - self.reported > _REPORT_SECONDS or not self.keys:
                self.reported = now
                self.scheduler.log_event(topic, (self.done, self.total))

    return TaskCounter()
