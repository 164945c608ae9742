"""What the library tells while it works: warnings by category, and a log.

Each module logs under its own name, so ``logging.getLogger("seg4eo_xr")`` is the head of all. At
INFO the log says what was opened, what was chosen, how far the work is and what was written; the
library sets no level and shows nothing itself. What a user has to see is a warning: every category
is a `Seg4EOWarning`, and ``warnings.filterwarnings("ignore", category=...)`` silences one or all.
"""

from __future__ import annotations

import logging
import sys
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Listener = Callable[[str, "type[Seg4EOWarning]"], None]

listeners: list[Listener] = []
"""Called with the text and the category of each warning that `warn` gives."""


class Seg4EOWarning(UserWarning):
    """Base of all warnings of this library.

    Examples
    --------
    >>> import warnings
    >>> import seg4eo_xr as seg
    >>> with warnings.catch_warnings():
    ...     warnings.filterwarnings("ignore", category=seg.LabelWarning)
    ...     warnings.warn("two of the features are invalid", seg.LabelWarning)
    """


class Terminated(KeyboardInterrupt):
    """The process was told to end by SIGTERM, as schedulers send it when a job's time is over.

    As a KeyboardInterrupt it passes handlers of errors, and what cleans up after Ctrl-C cleans up.
    """


def warn(text: str, category: type[Seg4EOWarning], *, stacklevel: int = 1) -> None:
    """Warn of what the work itself shows, on workers too.

    What a job's workers warn of comes to the user through `listeners`, what others warn of through
    dask.

    Parameters
    ----------
    text, category, stacklevel
        As `warnings.warn` takes them.
    """
    for listen in list(listeners):
        listen(text, category)
    if not listeners and _is_far_worker():
        sys.modules["distributed"].warn(text, category, stacklevel + 1)
    else:
        warnings.warn(text, category, stacklevel=stacklevel + 1)


@contextmanager
def without_log(name: str) -> Iterator[None]:
    """Keep back what another library logs meanwhile; Python prints warnings if nobody set a log."""

    def keep_back(record: logging.LogRecord) -> bool:
        return False

    logger = logging.getLogger(name)
    logger.addFilter(keep_back)
    try:
        yield
    finally:
        logger.removeFilter(keep_back)


def _is_far_worker() -> bool:
    """Tell whether this is a task of a dask worker whose client is in another process."""
    distributed = sys.modules.get("distributed")
    if distributed is None:
        return False
    try:
        distributed.get_worker()
    except ValueError:
        return False
    try:
        distributed.default_client()
    except ValueError:
        return True
    return False
