"""Nothing unfinished at the final path: write beside it, then rename."""

from __future__ import annotations

import json
import logging
import os
import shutil
import tempfile
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from os import PathLike

_LOGGER = logging.getLogger(__name__)
_STAGED = ".*.part"


@contextmanager
def staging(path: Path, *, overwrite: bool) -> Iterator[Path]:
    """Open a temporary folder beside `path`, on the same file system, and remove it at the end.

    Making it shows before any computing that the output can be written. A killed process leaves the
    folder, whose name begins with a dot and ends in ``.part``; nothing ever reads it.

    Parameters
    ----------
    path
        The final path of the output.
    overwrite
        Whether something may already stand there.

    Yields
    ------
    Path
        The folder.

    Raises
    ------
    ValueError
        If `path` was a URL.
    FileExistsError
        If something stands at `path` and `overwrite` is False.
    FileNotFoundError
        If the folder of `path` does not exist.
    OSError
        If the folder cannot be written to.
    """
    require_local(path)
    if path.exists() and not overwrite:
        raise FileExistsError(
            f"{path} exists already; pass overwrite=True (--overwrite), or choose another name"
        )
    if not path.parent.is_dir():
        raise FileNotFoundError(
            f"cannot write {path}: the folder {path.parent} does not exist; create it first"
        )
    try:
        folder = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent))
    except OSError as error:
        raise type(error)(
            f"cannot write {path}: {error.strerror}; choose a folder that you may write to"
        ) from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def require_local(path: Path) -> None:
    """Raise ValueError where a path was a URL, as ``s3://bucket/map.tif``."""
    if os.name == "posix" and any(part.endswith(":") for part in path.parts):
        raise ValueError(f"{path} is no path of this machine; write to a local one, and copy it")


def commit(finished: Path, path: Path) -> None:
    """Move a finished file or folder out of its staging folder to its final path.

    A file is replaced atomically. A folder that stands at `path` is moved into the staging folder
    first, so for a moment there is neither; never a mixture. The log names final paths alone.
    """
    replaced = None
    if finished.is_file():
        _fsync(finished)
    elif path.exists():
        replaced = path.rename(finished.parent / "replaced")
    try:
        finished.replace(path)
    except BaseException:
        if replaced is not None:
            replaced.rename(path)  # or it would go with the staging folder
        raise
    if os.name == "posix":
        _fsync(path.parent)
    if not any(fnmatch(part, _STAGED) for part in path.parent.parts):  # a part of a larger output
        _LOGGER.info("wrote %s", path)


def write_report(report: Mapping[str, Any], path: str | PathLike[str]) -> Path:
    """Write plain values as a JSON file, whole or not at all; what stands there is replaced.

    Raises
    ------
    ValueError
        If a number is not finite, which JSON cannot say.
    """
    path = Path(path)
    text = json.dumps(report, indent=2, allow_nan=False, ensure_ascii=False)
    with staging(path, overwrite=True) as folder:
        unfinished = folder / "report.json"
        unfinished.write_text(text + "\n", encoding="utf-8")
        commit(unfinished, path)
    return path


def _fsync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
