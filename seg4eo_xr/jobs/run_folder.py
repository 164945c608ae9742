"""The folder of a job under way: `<output>.run`, with settings, markers and the map in the making.

What a job depends on is written down and hashed into its fingerprint; a job goes on only where all
of it is the same. On a file system the map is made inside the folder and renamed at the end. An
object store knows no renaming: a Zarr store is made in its place, where nothing opens it before its
root metadata are written, which is done last.
"""

from __future__ import annotations

import json
import shutil
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xxhash
from filelock import FileLock, Timeout

from seg4eo_xr.jobs.markers import count_markers, write_at_once
from seg4eo_xr.patches.writing import is_local
from seg4eo_xr.staging import commit

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from upath import UPath

_SETTINGS, _SOURCES = "settings.json", "sources.json"
_LOCK = ".lock"
# What a Zarr store has once it is one.
_ROOT = "zarr.json"
# What stands in the settings as a hash, in words.
_HASHED = {
    "input": "the scene (its files, or how it is opened)",
    "model": "the model",
    "contract": "what the model expects of a scene",
}
# What stands in the settings as it was fitted to the scene, in words.
_ROUNDED = {"tile_size": "tile_size, in whole chunks of the map,"}

# What follows from other settings where the user does not give it.
_CAUSES = {
    "contract": ("input", "model"),
    "classes": ("model",),
    "output_nodata": ("model", "classes"),
    "patch_size": ("input", "model"),
    "overlap": ("input", "model", "patch_size"),
    "windows_per_chunk": ("input", "model", "patch_size", "overlap"),
    "tile_size": ("input", "model", "patch_size", "overlap", "windows_per_chunk"),
    "batch_size": ("model", "device", "patch_size"),
    "precision": ("model", "device"),
    "compile": ("model", "device"),
}


def fingerprint_of(settings: Mapping[str, Any]) -> str:
    """Hash the settings of a job.

    Examples
    --------
    >>> fingerprint_of({"window": 512}) == fingerprint_of({"window": 256})
    False
    """
    text = json.dumps(dict(settings), sort_keys=True)
    return xxhash.xxh3_64_hexdigest(text.encode())


@dataclass(frozen=True)
class RunFolder:
    """Where a job keeps what is not finished.

    Parameters
    ----------
    target
        The output.
    settings
        All that the map depends on, fit for JSON.
    """

    target: UPath
    settings: Mapping[str, Any]

    @property
    def folder(self) -> UPath:
        """The folder of all runs of the output."""
        return run_folder_of(self.target)

    @property
    def run(self) -> UPath:
        """The folder of this run."""
        return self.folder / fingerprint_of(self.settings)

    @property
    def markers(self) -> UPath:
        """Folder of the markers."""
        return self.run / "done"

    @property
    def store(self) -> UPath:
        """Where the Zarr store of the map is made."""
        in_place = not is_local(self.target) and self.target.suffix == ".zarr"
        return self.target if in_place else self.run / "map.zarr"

    @property
    def sources(self) -> dict[str, Any]:
        """The files that the job began with, as `sources_of` gives them."""
        file = self.run / _SOURCES
        sources: dict[str, Any] = json.loads(file.read_bytes()) if file.exists() else {}
        return sources

    def finished_tiles(self) -> int:
        """Number of tiles that are marked."""
        return count_markers(self.markers)

    def begin(self, sources: Mapping[str, Any]) -> None:
        """Write down the settings, and which files the job began with.

        Parameters
        ----------
        sources
            The files, as `sources_of` gives them.

        Raises
        ------
        OSError
            If nothing can be written there.
        """
        text = json.dumps(dict(self.settings), sort_keys=True, indent=1)
        try:
            # Before the settings, which say that a job was begun.
            write_at_once(self.run / _SOURCES, json.dumps(dict(sources), sort_keys=True).encode())
            write_at_once(self.run / _SETTINGS, text.encode())
        except OSError as error:
            raise type(error)(
                f"cannot write {self.target}: {error.strerror or error}; choose a folder that you "
                "may write to"
            ) from error

    def commit_store(self, *, overwrite: bool) -> None:
        """Bring the finished Zarr store to its final place."""
        if self.store == self.target:
            return
        require_free(self.target, overwrite=overwrite)
        # What Zarr was writing when a worker or the job was killed.
        for torn in Path(str(self.store)).rglob("*.partial"):
            torn.unlink()
        commit(Path(str(self.store)), Path(str(self.target)))

    def remove(self) -> None:
        """Remove all that was kept for going on."""
        _remove(self.folder)

    def discard(self) -> None:
        """Remove what was kept, and what was made of the map in its place."""
        self.remove()
        if self.store == self.target:
            _remove(self.target)


def run_folder_of(target: UPath) -> UPath:
    """Folder in which jobs that make `target` keep what is not finished."""
    folder: UPath = target.with_name(f"{target.name}.run")
    return folder


def is_finished(target: UPath) -> bool:
    """Whether an output stands at its final place."""
    if not is_local(target) and target.suffix == ".zarr":
        return bool((target / _ROOT).exists())
    return bool(target.exists())


def require_free(target: UPath, *, overwrite: bool) -> None:
    """Raise FileExistsError where a finished output stands that is not to be replaced."""
    if not is_finished(target):
        return
    if not overwrite:
        raise FileExistsError(
            f"{target} exists already; pass overwrite=True (--overwrite) to replace it, or choose "
            "another name"
        )
    if target.suffix == ".zarr" and not (target / _ROOT).exists():
        raise FileExistsError(_no_store(target))
    if target.suffix != ".zarr" and target.is_dir():
        raise FileExistsError(f"{target} is a folder; choose another name")


def prepare_run(run: RunFolder, *, resume: bool, overwrite: bool) -> None:
    """Hold a job against others of its output that were not finished, before anything is written.

    Parameters
    ----------
    run
        The job.
    resume
        Whether to go on with a job that was stopped.
    overwrite
        Whether to drop a job that was stopped.

    Raises
    ------
    FileExistsError
        If something is in the way.
    ValueError
        If the job to go on with was another one; the message names what differs.
    """
    begun = _settings_of(run.folder)
    if resume and fingerprint_of(run.settings) in begun:
        return
    if overwrite:
        foreign = run.store == run.target and run.target.exists()
        if foreign and not begun and not is_finished(run.target):
            raise FileExistsError(_no_store(run.target))
        run.discard()
    elif begun and resume:
        raise ValueError(
            f"{run.folder} belongs to another job: {_nearest_difference(begun, run.settings)}; "
            "give the same again, or overwrite=True (--overwrite) to start again"
        )
    elif begun:
        raise FileExistsError(_not_finished(run.folder))
    elif run.store == run.target and run.target.exists():
        raise FileExistsError(
            f"{run.target} is not empty; choose another name, or pass overwrite=True (--overwrite)"
        )


def require_not_begun(target: UPath) -> None:
    """Raise FileExistsError where a job for an output was stopped."""
    folder = run_folder_of(target)
    if _settings_of(folder):
        raise FileExistsError(_not_finished(folder))


def _no_store(target: UPath) -> str:
    return f"{target} exists and is no Zarr store; choose another name"


def _not_finished(folder: UPath) -> str:
    return (
        f"{folder} holds a job that was not finished; pass resume=True (--resume) to go on with "
        "it, or overwrite=True (--overwrite) to start again"
    )


def _settings_of(folder: UPath) -> dict[str, dict[str, Any]]:
    """Settings of the jobs in a folder, by their fingerprints."""
    if not folder.exists():
        return {}
    begun = {}
    for entry in folder.iterdir():
        file = entry / _SETTINGS
        if file.exists():
            begun[entry.name] = json.loads(file.read_bytes())
    return begun


def sources_begun(target: UPath) -> dict[str, Any]:
    """Files that stopped jobs of an output began with."""
    begun = _settings_of(run_folder_of(target)).values()
    return {key: file for one in begun for key, file in RunFolder(target, one).sources.items()}


def _nearest_difference(begun: Mapping[str, Mapping[str, Any]], ours: Mapping[str, Any]) -> str:
    """Say in what the job that differs least differs."""
    nearest = min(begun.values(), key=lambda theirs: len(_differing(theirs, ours)))
    return differences(nearest, ours)


def differences(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> str:
    """Say in what two jobs differ, without what follows from it.

    Examples
    --------
    >>> differences({"overlap": 8, "tile_size": 96}, {"overlap": 10, "tile_size": 88})
    'overlap was 8 and is 10'
    """
    differing = _differing(theirs, ours)
    return ", ".join(
        f"{_HASHED[key]} has changed"
        if key in _HASHED
        else f"{_ROUNDED.get(key, key)} was {theirs.get(key)} and is {ours.get(key)}"
        for key in differing
        if not set(_CAUSES.get(key, ())) & set(differing)
    )


def _differing(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> list[str]:
    return [key for key in {**theirs, **ours} if theirs.get(key) != ours.get(key)]


@contextmanager
def locked(target: UPath) -> Iterator[None]:
    """Keep other processes from making the same output; a killed one's lock is free.

    Raises
    ------
    FileExistsError
        If another process makes it now.
    OSError
        If nothing can be written there.
    """
    if not is_local(target):
        yield  # object stores know no locks
        return
    folder = run_folder_of(target)
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise type(error)(
            f"cannot write {target}: {error.strerror}; the output needs a folder that exists and "
            "that you may write to"
        ) from error
    lock = FileLock(str(folder / _LOCK), timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise FileExistsError(
            f"another process makes {target} now; wait until it is done"
        ) from error
    try:
        yield
    finally:
        lock.release()
        if not any(entry.name != _LOCK for entry in folder.iterdir()):
            shutil.rmtree(str(folder))


def _remove(folder: UPath) -> None:
    """Remove a folder and all in it, save the lock of whoever asks."""
    if not is_local(folder):
        if folder.exists():
            folder.fs.rm(folder.path, recursive=True)
        return
    for entry in folder.iterdir() if folder.is_dir() else ():
        if entry.is_dir():
            shutil.rmtree(str(entry))
        elif entry.name != _LOCK:
            entry.unlink()
