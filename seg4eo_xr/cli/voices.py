"""What a command says beside its answer, all on standard error: its log and its warnings."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TextIO

import dask
from tqdm.auto import tqdm

from seg4eo_xr.notices import Seg4EOWarning

_OURS, _THEIRS = "seg4eo_xr", "distributed"


@contextmanager
def voices(*, quiet: bool, verbose: bool) -> Iterator[None]:
    """Show the library's log, and warnings as one line each.

    Parameters
    ----------
    quiet
        Show warnings and errors alone.
    verbose
        Show all that the library and dask have to say.
    """
    level = logging.DEBUG if verbose else logging.WARNING if quiet else logging.INFO
    with ExitStack() as stack:
        stack.enter_context(_logged(level))
        stack.enter_context(_plain_warnings())
        if not verbose:
            # Its loggers get their levels when it is imported, here and in worker processes.
            stack.enter_context(dask.config.set({"logging": {_THEIRS: "error"}}))
            stack.enter_context(_environment("DASK_LOGGING__DISTRIBUTED", "error"))
            stack.enter_context(_level(logging.getLogger(_THEIRS), logging.ERROR))
        yield


class _BesideBars(logging.StreamHandler[TextIO]):
    """Writes a line above the bars that are on the screen."""

    def emit(self, record: logging.LogRecord) -> None:
        tqdm.write(self.format(record), file=sys.stderr)


@contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    """Set a variable of the environment, unless the user has set it."""
    given = name in os.environ
    os.environ.setdefault(name, value)
    try:
        yield
    finally:
        if not given:
            del os.environ[name]


@contextmanager
def _logged(level: int) -> Iterator[None]:
    logger, handler = logging.getLogger(_OURS), _BesideBars(sys.stderr)
    logger.addHandler(handler)
    with _level(logger, level):
        try:
            yield
        finally:
            logger.removeHandler(handler)


@contextmanager
def _level(logger: logging.Logger, level: int) -> Iterator[None]:
    before = logger.level
    logger.setLevel(level)
    try:
        yield
    finally:
        logger.setLevel(before)


@contextmanager
def _plain_warnings() -> Iterator[None]:
    """Show a warning as one line, without the place in the code."""

    def show(message: Warning | str, *_: object, **__: object) -> None:
        print(f"warning: {message}", file=sys.stderr)

    with warnings.catch_warnings():
        if not sys.warnoptions:
            warnings.filterwarnings("default", category=Seg4EOWarning)
        warnings.showwarning = show
        yield
