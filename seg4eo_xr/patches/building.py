"""Where a patch store is built, and how it appears at its final place.

On a file system a store is built in a folder of its own beside its final place, and renamed when it
is committed. An object store has no renaming: there the store is built in place, and nobody can
open it before it is committed. Either way the journal of a run that was killed stays, and the same
run goes on from there.
"""

from __future__ import annotations

import contextlib
import shutil
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import zarr
from filelock import FileLock, Timeout
from upath import UPath

from seg4eo_xr.notices import Seg4EOWarning
from seg4eo_xr.patches.writing import SCHEMA, is_local
from seg4eo_xr.scenes.rasters import is_remote

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

JOURNAL = "journal"
_LOCK = ".lock"


class LeftoverWarning(Seg4EOWarning):
    """Unfinished parts of other runs lie beside an output."""


def locate(store: str | Path | UPath) -> UPath:
    """Path of a store: a folder, made absolute, or a URL such as ``s3://bucket/patches.zarr``."""
    path = UPath(store)
    if is_local(path):
        place: UPath = path.absolute()
    else:
        # Listings that are kept would miss what other processes have written since.
        place = UPath(str(store), **{**path.storage_options, "use_listings_cache": False})
    return place


def require_apart(
    files: Iterable[UPath],
    sources: Iterable[str | Path],
    *,
    option: str = "output (--output)",
    source: str = "the scene",
) -> None:
    """Raise ValueError where an output would replace what it is made from.

    Parameters
    ----------
    files
        What will be written.
    sources
        What it is made from.
    option, source
        What error messages call an output, and a source.
    """
    # As texts: what GDAL reads need not be a path that Python can follow.
    places = {
        str(source).rstrip("/") if is_remote(source) else str(Path(source).absolute())
        for source in sources
    }
    for file in files:
        if str(file).rstrip("/") in places:
            raise ValueError(f"{option} {file} is {source} itself; choose another name for the map")


@contextlib.contextmanager
def remote_errors(place: UPath) -> Iterator[None]:
    """Turn a server's own errors into an OSError that says what to do."""
    try:
        yield
    except FileNotFoundError as error:
        if is_local(place) or str(place) in str(error):
            raise
        raise FileNotFoundError(f"{place}: {error}") from error
    except Exception as error:
        if type(error).__module__.partition(".")[0] not in ("aiobotocore", "aiohttp", "botocore"):
            raise
        first = (str(error) or type(error).__name__).splitlines()[0]
        raise OSError(
            f"cannot reach {place}: {first}; check the address, the network and the credentials "
            "(as AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_ENDPOINT_URL)"
        ) from error


@contextlib.contextmanager
def built_anew(target: UPath, fingerprint: str, *, overwrite: bool) -> Iterator[UPath]:
    """Give a folder to build a store in, which stands at `target` in the end.

    An error in the input (ValueError, TypeError) removes what is unfinished. After any other, what
    the journal knows stays for the next run with the same `fingerprint`.

    Parameters
    ----------
    target
        The store's final place.
    fingerprint
        Name of all that the store's bytes depend on.
    overwrite
        Whether another patch store there may be replaced.

    Raises
    ------
    FileExistsError
        If `target` exists and `overwrite` is False, or is something else than a patch store; if
        another process builds the same store now.
    OSError
        If nothing can be written there.
    """
    require_free(target, overwrite=overwrite)
    local = is_local(target)
    folder = target.with_name(f"{target.name}.partial-{fingerprint}") if local else target
    if not local and not (target / JOURNAL / fingerprint).exists():
        _remove(target)  # of another run, and not finished, or to be overwritten
    try:
        if local:  # on S3 it would make a bucket
            folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(
            f"cannot write the patch store {target}: {error.strerror or error}; choose a folder "
            "that you may write to"
        ) from error
    with _kept_after_accidents(folder, target), _locked(folder):
        yield folder
        _remove(folder / JOURNAL)
    if local:
        require_free(target, overwrite=overwrite)
        _move(folder, target)
        _tell_of_others(target)


@contextlib.contextmanager
def built_on(target: UPath) -> Iterator[UPath]:
    """Give the folder of a committed store for an append; only one process may append at a time.

    Raises
    ------
    FileExistsError
        If another process writes to the store now.
    """
    try:
        with _locked(target):
            yield target
            _remove(target / JOURNAL)
    except FileExistsError:
        raise  # another process writes there
    except (ValueError, TypeError):
        _remove(target / JOURNAL)
        raise
    except BaseException as error:
        _note_what_is_kept(error, target, target)
        raise


def is_committed(target: UPath) -> bool:
    """Whether a complete patch store, of whatever schema version, lies at `target`."""
    try:
        group = zarr.open_group(str(target), mode="r", use_consolidated=True)
    except (OSError, ValueError, KeyError):
        return False
    return group.attrs.get("schema") == SCHEMA


@contextlib.contextmanager
def _kept_after_accidents(folder: UPath, target: UPath) -> Iterator[None]:
    try:
        yield
    except FileExistsError:
        raise  # the folder is another process's
    except (ValueError, TypeError):
        _remove(folder)
        raise
    except BaseException as error:
        if not _note_what_is_kept(error, folder, target):
            _remove(folder)
        raise


def _note_what_is_kept(error: BaseException, folder: UPath, target: UPath) -> bool:
    finished = sum(1 for _ in (folder / JOURNAL).glob("*/*.npz"))
    if finished:
        error.add_note(
            f"{finished} shards of {target.name} are finished and kept in {folder}; run the same "
            "again to go on from there"
        )
    return finished > 0


@contextlib.contextmanager
def _locked(folder: UPath) -> Iterator[None]:
    """Keep other processes out; the system frees the lock of a process that is killed."""
    if not is_local(folder):
        yield  # object stores know no locks
        return
    lock = FileLock(str(folder / _LOCK), timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise FileExistsError(
            f"another process is writing to {folder}; wait until it is done"
        ) from error
    try:
        yield
        (folder / _LOCK).unlink()
    finally:
        lock.release()


def require_free(target: UPath, *, overwrite: bool) -> None:
    """Raise FileExistsError where something stands at `target` that is not to be replaced."""
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return
    if is_committed(target):
        if overwrite:
            return
        raise FileExistsError(
            f"{target} exists already; pass overwrite=True (--overwrite) to replace it, "
            "append=True (--append) to add to it, or choose another name"
        )
    if not is_local(target) and _is_begun(target):
        return  # built in place, and not finished
    if overwrite and _is_begun(target):
        return
    raise FileExistsError(
        f"{target} exists and is no patch store, so it is not overwritten; remove it yourself or "
        "choose another name"
    )


def _tell_of_others(target: UPath) -> None:
    parts = [str(entry) for entry in target.parent.glob(f"{target.name}.partial-*")]
    if parts:
        warnings.warn(
            f"beside {target} lie parts of other extractions that were not finished: "
            f"{', '.join(sorted(parts))}; remove them, unless one is running",
            LeftoverWarning,
            stacklevel=6,
        )


def _is_begun(target: UPath) -> bool:
    try:
        group = zarr.open_group(str(target), mode="r", use_consolidated=False)
    except (OSError, ValueError, KeyError):
        return False
    return group.attrs.get("schema") == SCHEMA


def _remove(folder: UPath) -> None:
    if is_local(folder):
        shutil.rmtree(str(folder), ignore_errors=True)
    elif folder.exists():
        folder.fs.rm(folder.path, recursive=True)


def _move(folder: UPath, target: UPath) -> None:
    if not target.exists():
        folder.rename(target)
        return
    old = folder.with_name(f"{folder.name}.replaced")
    target.rename(old)
    folder.rename(target)
    _remove(old)
