"""What the library tells while it works: warnings by category, and a log.

Each module logs under its own name, so ``logging.getLogger("seg4eo_xr")`` is the head of all. At
INFO the log says what was opened, what was chosen, how far the work is and what was written; the
library sets no level and shows nothing itself. What a user has to see is a warning: every category
is a `Seg4EOWarning`, and ``warnings.filterwarnings("ignore", category=...)`` silences one or all.
"""

from __future__ import annotations


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
