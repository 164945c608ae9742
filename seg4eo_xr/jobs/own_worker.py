"""What the worker processes that a job starts load first.

A terminal sends Ctrl-C to every process of a command. The one that the user started hears it and
ends the workers; these must not fall over it by themselves.
"""

from __future__ import annotations

import logging
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from distributed import Worker


def dask_setup(_: Worker) -> None:
    """Leave interrupts and failed tiles to the process that started this one; dask calls it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if logging.getLogger("distributed").level >= logging.ERROR:
        logging.getLogger("distributed.worker").setLevel(logging.CRITICAL)
