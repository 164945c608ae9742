"""Predictions as jobs of independent tiles: killed at any moment, they go on where they were."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xarray as xr

from seg4eo_xr.inference.job_options import JobOptions
from seg4eo_xr.inference.options import PredictOptions
from seg4eo_xr.jobs.order import JobOrder
from seg4eo_xr.jobs.result import JobFailedError, JobResult
from seg4eo_xr.models.checkpoint import Checkpoint, load_checkpoint
from seg4eo_xr.options import changed
from seg4eo_xr.patches.building import locate, remote_errors, require_apart
from seg4eo_xr.scenes.conform import conform
from seg4eo_xr.scenes.cubes import open_cube, scenes_of
from seg4eo_xr.scenes.open import open_scene

if TYPE_CHECKING:
    from collections.abc import Mapping

    from upath import UPath

    from seg4eo_xr.scenes.cubes import CubeSource
    from seg4eo_xr.scenes.open import SceneSource


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
        the job begins anew, and where the map is finished nothing is done.
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
    results: dict[str, JobResult] = {}
    failures: dict[str, JobFailedError] = {}
    with remote_errors(whole):
        dates = scenes if isinstance(scenes, dict) else scenes_of(open_cube(scenes))
        targets = {date: _dated(whole, date) for date in dates}
        for date, target in targets.items():
            order.require_place(target)
            require_apart(order.files(target), _paths_of(dates[date]))
        contract = order.checkpoint.contract
        conformed = {date: conform(open_scene(scene), contract) for date, scene in dates.items()}
        with order.workers() as cluster:
            for date, target in targets.items():
                try:
                    results[date] = order.make(conformed[date], target, cluster, date)
                except JobFailedError as error:
                    failures[date] = error
    if failures:
        raise _dates_failed(failures, len(dates))
    return results


def _dated(whole: UPath, date: str) -> UPath:
    # The time of a day has colons, which not every file system takes.
    name = f"{whole.stem}_{date.replace(':', '')}{whole.suffix}"
    target: UPath = whole.with_name(name)
    return target


def _dates_failed(failures: Mapping[str, JobFailedError], dates: int) -> JobFailedError:
    lines = [
        "\n".join([f"{date}: {error}", *getattr(error, "__notes__", ())])
        for date, error in failures.items()
    ]
    told = f"{len(failures)} of {dates} dates failed, the others are finished:"
    return JobFailedError("\n".join([told, *lines]), failures)


def _paths_of(scene: SceneSource) -> list[str | Path]:
    """Where a scene comes from, as far as it tells."""
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
