"""The log of worker processes, heard where the job was started."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from distributed import WorkerPlugin

if TYPE_CHECKING:
    from collections.abc import Iterator

    from distributed import Client

_TREE = __name__.partition(".")[0]


@contextmanager
def worker_log_heard(client: Client) -> Iterator[None]:
    """Bring what workers log to this process for as long as the block runs.

    A process starts with its log at WARNING, so each worker takes the level that is set here. At
    levels above INFO a worker has nothing to say, and is left as it is.

    Parameters
    ----------
    client
        Connected to workers that are other processes.
    """
    level = logging.getLogger(_TREE).getEffectiveLevel()
    if level > logging.INFO:
        yield
        return
    client.register_plugin(_LogLevel(level), name=_LogLevel.name)
    client.forward_logging(_TREE, level)  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        client.unforward_logging(_TREE)  # type: ignore[no-untyped-call]
        client.unregister_worker_plugin(_LogLevel.name)  # type: ignore[no-untyped-call]


class _LogLevel(WorkerPlugin):
    """Sets the level of a worker's log, also where the worker joins later."""

    name = "seg4eo-log-level"

    def __init__(self, level: int) -> None:
        self.level = level

    def setup(self, worker: Any) -> None:
        logger = logging.getLogger(_TREE)
        self.before = logger.level
        logger.setLevel(self.level)

    def teardown(self, worker: Any) -> None:
        logging.getLogger(_TREE).setLevel(self.before)
