"""Predictions as jobs of independent tiles: killed at any moment, they go on where they were."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xarray as xr

from seg4eo_xr.inference.job_options import JobOptions
from seg4eo_xr.inference.options import PredictOptions
from seg4eo_xr.jobs.order import JobOrder
from seg4eo_xr.jobs.result import JobFailedError, JobResult, known_files
from seg4eo_xr.models.checkpoint import Checkpoint, load_checkpoint
from seg4eo_xr.options import changed
from seg4eo_xr.patches.building import locate, remote_errors, require_apart
from seg4eo_xr.scenes.conform import conform
from seg4eo_xr.scenes.cubes import open_cube, scenes_of
from seg4eo_xr.scenes.open import open_scene

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from upath import UPath

    from seg4eo_xr.scenes.cubes import CubeSource
    from seg4eo_xr.scenes.open import SceneSource

    Opener = Callable[[], xr.DataArray]

_SHOWN_FAILURES = 10


def predict_to_zarr(
    scene: SceneSource,
    model: str | Path | Checkpoint,
    output: str | Path | UPath,
    options: PredictOptions | None = None,
    job: JobOptions | None = None,
    *,
    resume: bool = False,
    overwrite: bool = False,
    progress: bool = True,
    **changes: Any,
) -> JobResult:
    """Predict a scene of any size, tile by tile, into a map on disk or on S3.

    The map has the bits of `predict`. Tiles run on the dask client in use, on the cluster whose
    address `job` gives, or on this machine. Each finished tile is marked, so a job that was killed
    goes on with ``resume=True``; until all of it is done there is nothing at `output`. Tiles that
    fail again and again are set aside, and the others finished, before the job fails.

    Parameters
    ----------
    scene
        What `open_scene` takes.
    model
        A checkpoint, or the path of one.
    output
        The map: ``map.zarr``, or ``map.tif`` for a cloud-optimised GeoTIFF of the first layer with
        the others beside it as ``map_confidence.tif``; a path that all workers see, or
        ``s3://...`` (with the extra ``s3``).
    options
        How to predict; see `PredictOptions`.
    job
        Tiles, workers and time limits; see `JobOptions`. With ``workers`` the calling script needs
        ``if __name__ == "__main__":``, since processes are spawned.
    resume
        Go on with a job that was stopped; its tiles are checked against their markers. Without one
        the job begins anew, and where the map is finished nothing is done. The scene is the same
        where its files have other times but the same content, if it is given by paths, of GeoTIFFs
        or JPEG 2000 files of at most 2 GiB in all.
    overwrite
        Replace a map that exists, or a job that was stopped.
    progress
        Show a bar where it takes longer than two seconds.
    **changes
        Fields of `PredictOptions` or of `JobOptions`, as ``overlap=128`` or ``workers=4``.

    Returns
    -------
    JobResult
        The map's path, statistics and time.

    Raises
    ------
    FileExistsError
        If the output, or a job for it that was not finished, exists.
    ValueError
        If the scene lacks a band of the model's or is a time series, an option does not fit, or
        the job to resume was another one.
    JobFailedError
        If tiles failed; it lists them. Finished tiles are kept.
    TimeoutError
        If there were no workers, or no tile was finished, for too long.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from seg4eo_xr.testing import synthetic_sentinel2, untrained_checkpoint
    >>> scene, labels = synthetic_sentinel2((64, 96), chunks=64)
    >>> model = untrained_checkpoint(scene, labels)
    >>> with TemporaryDirectory() as folder:
    ...     job = predict_to_zarr(scene, model, f"{folder}/map.zarr", progress=False)
    ...     job.open()["classes"].shape, sum(job.statistics.pixels) + job.statistics.missing
    ((64, 96), 6144)
    """
    order = JobOrder(
        _loaded(model), *_with_changes(options, job, changes), resume, overwrite, progress
    )
    target = locate(output)
    with remote_errors(target):
        order.require_place(target)
        with known_files(target, resume=resume):
            opened = open_scene(scene)
        require_apart(order.files(target), _paths_of(scene))
        conformed = conform(opened, order.checkpoint.contract)
        with order.workers() as cluster:
            return order.make(conformed, target, cluster)


def predict_series(
    scenes: CubeSource | dict[str, xr.DataArray],
    model: str | Path | Checkpoint,
    output: str | Path | UPath,
    options: PredictOptions | None = None,
    job: JobOptions | None = None,
    *,
    resume: bool = False,
    overwrite: bool = False,
    progress: bool = True,
    **changes: Any,
) -> dict[str, JobResult]:
    """Predict a time series as one job a date, each with a map of its own.

    Parameters
    ----------
    scenes
        What `open_cube` takes; or scenes by date, as `scenes_of` gives them, which need not lie on
        one grid.
    model, options, job, overwrite, progress, **changes
        See `predict_to_zarr`.
    output
        The maps but for the date: ``map.tif`` becomes ``map_2021-06-03.tif`` and so on.
    resume
        Go on with dates that were stopped and leave those that are finished. Of scenes by date,
        that are files of their own, a series with new dates takes just these.

    Returns
    -------
    dict of str to JobResult
        By date, as `scenes_of` names it.

    Raises
    ------
    FileExistsError, ValueError, TimeoutError
        See `predict_to_zarr`.
    JobFailedError
        If tiles of some dates failed; the other dates are finished before.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from seg4eo_xr.testing import synthetic_sentinel2, untrained_checkpoint
    >>> scene, labels = synthetic_sentinel2((64, 96), chunks=64)
    >>> model = untrained_checkpoint(scene, labels)
    >>> dates = {"2021-06-03": scene, "2021-06-13": scene}
    >>> with TemporaryDirectory() as folder:
    ...     jobs = predict_series(dates, model, f"{folder}/map.tif", progress=False)
    ...     [job.path.name for job in jobs.values()]
    ['map_2021-06-03.tif', 'map_2021-06-13.tif']
    """
    order = JobOrder(
        _loaded(model), *_with_changes(options, job, changes), resume, overwrite, progress
    )
    whole = locate(output)
    with remote_errors(whole):
        with known_files(whole, resume=resume, series=True):
            dates = scenes if isinstance(scenes, dict) else scenes_of(open_cube(scenes))
        targets = {date: _dated(whole, date) for date in dates}
        _require_places(order, targets, dates)
        contract = order.checkpoint.contract
        conformed = {date: conform(open_scene(scene), contract) for date, scene in dates.items()}
        return _make_each(order, conformed.__getitem__, targets, "dates")


def predict_scenes(
    scenes: Sequence[str | Path | xr.DataArray] | Mapping[str, SceneSource | Opener],
    model: str | Path | Checkpoint,
    output: str | Path | UPath,
    options: PredictOptions | None = None,
    job: JobOptions | None = None,
    *,
    resume: bool = False,
    overwrite: bool = False,
    progress: bool = True,
    **changes: Any,
) -> dict[str, JobResult]:
    """Predict many scenes with one model, each into a GeoTIFF of its own.

    Parameters
    ----------
    scenes
        Files, arrays that were opened from files, or by name any sources of `open_scene` or
        functions that open a scene when its turn comes. Scenes need not lie on one grid.
    model, options, job, overwrite, progress, **changes
        See `predict_to_zarr`.
    output
        Folder of the maps: ``chips/a.tif`` becomes ``a.tif`` in it.
    resume
        Go on with scenes that were stopped, and leave those that are finished.

    Returns
    -------
    dict of str to JobResult
        By the scenes' names.

    Raises
    ------
    FileExistsError, TimeoutError
        See `predict_to_zarr`.
    ValueError
        If two scenes have one name or would write the same file, or an array has no name; and see
        `predict_to_zarr`.
    JobFailedError
        If some scenes cannot be opened or have tiles that failed; the others are finished before.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from seg4eo_xr.testing import synthetic_sentinel2, untrained_checkpoint
    >>> scene, labels = synthetic_sentinel2((64, 96), chunks=64)
    >>> model = untrained_checkpoint(scene, labels)
    >>> with TemporaryDirectory() as folder:
    ...     jobs = predict_scenes({"a": scene, "b": scene}, model, folder, progress=False)
    ...     [job.path.name for job in jobs.values()]
    ['a.tif', 'b.tif']
    """
    chosen, for_job = _with_changes(options, job, changes)
    if options is None and "layers" not in changes:
        chosen = replace(chosen, layers=("classes",))  # a GeoTIFF holds one layer
    order = JobOrder(_loaded(model), chosen, for_job, resume, overwrite, progress)
    folder = locate(output)
    named = dict(scenes) if isinstance(scenes, Mapping) else _by_name(scenes)
    with remote_errors(folder):
        targets = {name: folder / f"{name}.tif" for name in named}
        _require_places(order, targets, named)
        folder.mkdir(parents=True, exist_ok=True)

        def conformed(name: str) -> xr.DataArray:
            source = named[name]
            with known_files(targets[name], resume=resume):
                opened = source() if callable(source) else open_scene(source)
            return conform(opened, order.checkpoint.contract)

        return _make_each(order, conformed, targets, "scenes")


def _by_name(scenes: Sequence[str | Path | xr.DataArray]) -> dict[str, SceneSource | Opener]:
    """Scenes by the names of their files, without the suffix."""
    named: dict[str, SceneSource | Opener] = {}
    for scene in scenes:
        path = next(iter(_paths_of(scene)), None)
        if path is None:
            raise ValueError(
                "an array has no file to be named after; give scenes by name, as {'north': scene}"
            )
        name = Path(str(path)).stem
        if name in named:
            other = _paths_of(named[name])[0]
            raise ValueError(
                f"{str(other)!r} and {str(path)!r} would both become {name}.tif; rename one of "
                "them, map them into folders of their own, or give scenes by name"
            )
        named[name] = scene
    if not named:
        raise ValueError("the list of scenes is empty; give at least one")
    return named


def _require_places(
    order: JobOrder, targets: Mapping[str, UPath], scenes: Mapping[str, SceneSource | Opener]
) -> None:
    """Raise an error, before anything runs, where one of several maps cannot be made."""
    sources = [path for scene in scenes.values() for path in _paths_of(scene)]
    owners: dict[str, str] = {}
    for name, target in targets.items():
        order.require_place(target)
        require_apart(order.files(target), sources)
        for file in order.files(target):
            other = owners.setdefault(str(file), name)
            if other != name:
                raise ValueError(
                    f"{other!r} and {name!r} would both write {file}; rename one of them, or map "
                    "them into different folders (--output)"
                )


def _make_each(
    order: JobOrder,
    conformed: Callable[[str], xr.DataArray],
    targets: Mapping[str, UPath],
    what: str,
) -> dict[str, JobResult]:
    """Map scenes one after the other on the same workers; what fails does not stop the others."""
    results: dict[str, JobResult] = {}
    failures: dict[str, Exception] = {}
    with order.workers() as cluster:
        for number, (name, target) in enumerate(targets.items(), start=1):
            try:
                scene = conformed(name)
            except (OSError, ValueError) as error:
                failures[name] = error
                continue
            try:
                title = f"{name} ({number} of {len(targets)})"
                results[name] = order.make(scene, target, cluster, title)
            except JobFailedError as error:
                failures[name] = error
    if failures:
        raise _some_failed(failures, len(targets), what)
    return results


def _dated(whole: UPath, date: str) -> UPath:
    # The time of a day has colons, which not every file system takes.
    name = f"{whole.stem}_{date.replace(':', '')}{whole.suffix}"
    target: UPath = whole.with_name(name)
    return target


def _some_failed(failures: Mapping[str, Exception], count: int, what: str) -> JobFailedError:
    lines = [
        "\n".join([f"{name}: {error}", *getattr(error, "__notes__", ())])
        for name, error in list(failures.items())[:_SHOWN_FAILURES]
    ]
    hidden = len(failures) - len(lines)
    lines += [f"and {hidden} more"] if hidden else []
    told = f"{len(failures)} of {count} {what} failed, the others are finished:"
    return JobFailedError("\n".join([told, *lines]), failures)


def _paths_of(scene: SceneSource | Opener) -> list[str | Path]:
    """Files that a scene comes from, as far as they are known."""
    if callable(scene):
        return []
    if isinstance(scene, (str, Path)):
        return [scene]
    if isinstance(scene, (xr.DataArray, xr.Dataset)):
        return [scene.encoding["source"]] if "source" in scene.encoding else []
    return list(scene)


def _loaded(model: str | Path | Checkpoint) -> Checkpoint:
    return model if isinstance(model, Checkpoint) else load_checkpoint(model)


def _with_changes(
    options: PredictOptions | None, job: JobOptions | None, changes: Mapping[str, Any]
) -> tuple[PredictOptions, JobOptions]:
    own = {field.name for field in fields(JobOptions)}
    for_job = {name: value for name, value in changes.items() if name in own}
    others = {name: value for name, value in changes.items() if name not in own}
    chosen = changed(options, PredictOptions, others)
    return chosen, changed(job, JobOptions, for_job)
