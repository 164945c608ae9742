"""What a command writes to the streams: its answer, and on standard error its log and warnings."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, suppress
from typing import Any, TextIO

import dask
from tqdm.auto import tqdm

from seg4eo_xr.notices import Seg4EOWarning
from seg4eo_xr.progress import IN_BAR, message_stream

_OURS, _THEIRS = "seg4eo_xr", "distributed"
# A task that fails is logged here with its traceback, once per try; the job reports it in a line.
_WORKER = f"{_THEIRS}.worker"


@contextmanager
def steady_streams() -> Iterator[None]:
    """Let no message stop the work: none that cannot be written, and none of other letters."""
    _fill_descriptors()
    streams, messages = (sys.stdout, sys.stderr), message_stream()
    stream: Any = messages
    with redirect_stderr(stream), _replaced_letters(sys.stdout):
        try:
            yield
        finally:
            for stream in streams:
                _leave(stream)


def _fill_descriptors() -> None:
    """Open what the shell has closed, since a file of the work would take its place."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)
            if null != number:
                os.dup2(null, number)
                os.close(null)


@contextmanager
def _replaced_letters(stream: Any) -> Iterator[None]:
    """Write a mark for each letter that the encoding of a stream does not have."""
    before = getattr(stream, "errors", None)
    if before != "strict" or not hasattr(stream, "reconfigure"):
        yield
        return
    stream.reconfigure(errors="replace")
    try:
        yield
    finally:
        with suppress(OSError):
            stream.reconfigure(errors=before)


def _leave(stream: TextIO | None) -> None:
    """Have Python not fail at its end over what cannot be written to a stream."""
    if stream is None:
        return
    try:
        stream.flush()
    except (OSError, ValueError):
        with suppress(OSError, ValueError):
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, stream.fileno())
            os.close(null)


def say(text: str, *, end: str = "\n") -> None:
    """Write an answer to standard output; a reader such as `head` may have had enough of it."""
    with suppress(BrokenPipeError):
        print(text, end=end, flush=True)


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
            levels = {_THEIRS: "error", _WORKER: "critical"}
            stack.enter_context(dask.config.set({"logging": levels}))
            stack.enter_context(_environment("DASK_LOGGING__DISTRIBUTED", "error"))
            stack.enter_context(_level(logging.getLogger(_THEIRS), logging.ERROR))
            stack.enter_context(_level(logging.getLogger(_WORKER), logging.CRITICAL))
        yield


class _BesideBars(logging.StreamHandler[TextIO]):
    """Writes a line above the bars that are on the screen."""

    def emit(self, record: logging.LogRecord) -> None:
        if getattr(record, IN_BAR, False):
            return  # for logs that are kept; on the screen there is the bar
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
