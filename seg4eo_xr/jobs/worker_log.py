"""The log of worker processes, heard where the job was started."""

from __future__ import annotations

import logging
import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

from distributed.diagnostics.plugin import ForwardLoggingPlugin

from seg4eo_xr.jobs.cluster import may_be_gone

if TYPE_CHECKING:
    from collections.abc import Iterator

    from distributed import Client

_TREE = __name__.partition(".")[0]


@contextmanager
def worker_log_heard(client: Client) -> Iterator[None]:
    """Bring what workers log to this process for as long as the block runs.

    A process starts with its log at WARNING, so each worker takes the level that is set here. At
    levels above INFO a worker has nothing to say, and is left as it is. Several jobs may listen to
    the same workers: each has a topic of its own.

    Parameters
    ----------
    client
        Connected to workers that are other processes.
    """
    level = logging.getLogger(_TREE).getEffectiveLevel()
    if level > logging.INFO:
        yield
        return
    topic = f"seg4eo-log-{uuid.uuid4().hex[:8]}"
    handler: Any = _handle
    client.register_plugin(_Forwarding(level, topic), name=topic)
    client.subscribe_topic(topic, handler)  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        with may_be_gone(client):
            client.unsubscribe_topic(topic)  # type: ignore[no-untyped-call]
            client.unregister_worker_plugin(topic)  # type: ignore[no-untyped-call]


def _handle(event: tuple[float, dict[str, Any]]) -> None:
    record = logging.makeLogRecord(event[1])
    logging.getLogger(record.name).handle(record)


class _Forwarding(ForwardLoggingPlugin):
    """Sends a worker's log, also where the worker joins later, and sets its level."""

    # Levels that the jobs of this process ask for.
    wanted: ClassVar[list[int]] = []

    def __init__(self, level: int, topic: str) -> None:
        super().__init__(_TREE, level, topic)  # type: ignore[no-untyped-call]

    def setup(self, worker: Any) -> None:
        super().setup(worker)  # type: ignore[no-untyped-call]
        self.wanted.append(self.level)
        self._set_level()

    def teardown(self, worker: Any) -> None:
        super().teardown(worker)  # type: ignore[no-untyped-call]
        self.wanted.remove(self.level)
        self._set_level()

    def _set_level(self) -> None:
        logging.getLogger(_TREE).setLevel(min(self.wanted, default=logging.NOTSET))
