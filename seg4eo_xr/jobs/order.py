"""One job, from a scene to its outputs, on workers that are there already."""

from __future__ import annotations

import logging
import time
import uuid
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache, partial, reduce
from typing import TYPE_CHECKING

from seg4eo_xr.inference.advice import MANY_WINDOWS, speed_advice
from seg4eo_xr.jobs.cluster import job_cluster, may_be_gone, require_same_package
from seg4eo_xr.jobs.outputs import output_files, write_outputs
from seg4eo_xr.jobs.result import JobFailedError, JobResult, about_job, finished_before
from seg4eo_xr.jobs.run_folder import (
    RunFolder,
    locked,
    prepare_run,
    require_free,
    require_not_begun,
)
from seg4eo_xr.jobs.setup import JobSetup
from seg4eo_xr.jobs.tally import Tally, pixels_heard
from seg4eo_xr.jobs.tile_loop import run_tiles
from seg4eo_xr.jobs.tile_work import TilePlugin, run_tile, tiles_at_once
from seg4eo_xr.jobs.worker_log import worker_log_heard
from seg4eo_xr.maps.arrays import finish_store
from seg4eo_xr.maps.statistics import MapStatistics
from seg4eo_xr.running import active_client
from seg4eo_xr.scenes.rasters import sources_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import xarray as xr
    from upath import UPath

    from seg4eo_xr.geometry.tiles import Tile, TileGrid
    from seg4eo_xr.inference.job_options import JobOptions
    from seg4eo_xr.inference.options import PredictOptions
    from seg4eo_xr.jobs.cluster import JobCluster
    from seg4eo_xr.models.checkpoint import Checkpoint

_LOGGER = logging.getLogger(__name__)
_SHOWN_FAILURES = 10


@dataclass(frozen=True)
class JobOrder:
    """What is asked of a job, whatever the scene and the output.

    Parameters
    ----------
    checkpoint, options, job
        What to run, and how.
    resume
        Whether to go on with what was stopped, and to leave what is finished.
    overwrite
        Whether outputs may be replaced.
    progress
        Whether to show a bar.
    """

    checkpoint: Checkpoint
    options: PredictOptions
    job: JobOptions
    resume: bool
    overwrite: bool
    progress: bool

    def files(self, target: UPath) -> tuple[UPath, ...]:
        """Outputs of a job that makes `target`, the map itself first."""
        return tuple(output_files(target, self.options.layers).values())

    def require_place(self, target: UPath) -> None:
        """Raise an error, before anything runs, where `target` cannot be made.

        Raises
        ------
        FileExistsError
            If something is there that is neither to be replaced nor to be gone on with.
        ValueError
            If the name tells no format, or options come with it, which workers do not get.
        """
        if target.suffix != ".zarr" and target.suffix.lower() not in (".tif", ".tiff"):
            raise ValueError(
                f"output (--output) must end in .zarr, .tif or .tiff, got {str(target)!r}"
            )
        if set(target.storage_options) - {"use_listings_cache"}:
            raise ValueError(
                f"output {target} comes with options of its own, which do not travel to workers; "
                "give them as the environment does, as AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY "
                "and AWS_ENDPOINT_URL"
            )
        if not self.resume:
            for file in self.files(target):
                require_free(file, overwrite=self.overwrite)
            if not self.overwrite:
                require_not_begun(target)

    @contextmanager
    def workers(self) -> Iterator[Callable[[], JobCluster]]:
        """Give access to the cluster that is asked for, for as long as the block runs.

        One that is there is connected at once, since it decides what a job can be. One of this
        machine is started by the first call, so that wrong options cost no start, and a map that is
        finished neither.

        Raises
        ------
        ImportError
            If a worker has not this package, or another version of it.
        OSError, TimeoutError
            If there is no scheduler, or no worker.
        """
        with ExitStack() as stack:
            cluster = cache(lambda: stack.enter_context(self._cluster()))
            if self.job.scheduler is not None or active_client() is not None:
                cluster()
            yield cluster

    @contextmanager
    def _cluster(self) -> Iterator[JobCluster]:
        import torch

        on_gpus = self.options.device in ("auto", "cuda") and torch.cuda.is_available()
        gpus = torch.cuda.device_count() if on_gpus else 0
        with job_cluster(self.job, gpus=gpus) as cluster:
            require_same_package(cluster.client)
            _LOGGER.info("dashboard of dask: %s", cluster.client.dashboard_link)
            with ExitStack() as stack:
                if not cluster.here:
                    stack.enter_context(worker_log_heard(cluster.client))
                # What prediction asks of the workers, it asks the client in use.
                stack.enter_context(cluster.client.as_current())
                yield cluster

    def make(
        self,
        scene: xr.DataArray,
        target: UPath,
        cluster: Callable[[], JobCluster],
        title: str = "predicting",
    ) -> JobResult:
        """Map one scene.

        Parameters
        ----------
        scene
            As `conform` gives it.
        target
            The output, which `require_place` has let pass.
        cluster
            Where to run; see `workers`.
        title
            What the bar says.
        """
        begin, files = time.monotonic(), self.files(target)
        with locked(target):
            setup = JobSetup.of(scene, self.checkpoint, self.options, self.job.tile_size)
            run = RunFolder(target, setup.settings)
            statistics, replace = None, self.overwrite
            if self.resume:
                statistics, replace = finished_before(files, run.settings, overwrite=self.overwrite)
            if statistics is None:
                prepare_run(run, resume=self.resume, overwrite=self.overwrite)
                with _kept_for_later(run, len(setup.grid)):
                    statistics = self._run(setup, run, cluster(), title)
                    write_outputs(run, self.options.layers, overwrite=replace)
                seconds = time.monotonic() - begin
                _LOGGER.info("finished after %.1f s", seconds)  # its files are logged
            else:
                _LOGGER.info("%s is finished already", target)
            run.remove()
        return JobResult(target, files, len(setup.grid), statistics, time.monotonic() - begin)

    def _run(
        self, setup: JobSetup, run: RunFolder, cluster: JobCluster, title: str
    ) -> MapStatistics:
        """Make all tiles and finish the store."""
        run.begin(run.sources or sources_of(setup.scene))
        setup.create(str(run.store))
        tally = Tally(setup.grid, title, progress=self.progress)
        finished = run.finished_tiles()
        kept = f", {finished} of them finished before and kept" if finished else ""
        _LOGGER.info("mapping into %s; tiles: %d%s", run.target, len(setup.grid), kept)
        advice = speed_advice(setup.runner) if setup.grid.total_windows >= MANY_WINDOWS else ()
        if advice:
            _LOGGER.info("what would be faster: %s", "; ".join(advice))
        with (
            tally,
            _work_on(cluster, setup, run) as name,
            pixels_heard(cluster.client, name, tally),
        ):
            failures = run_tiles(
                cluster.client,
                setup.grid,
                partial(run_tile, name),
                self.job,
                on_done=tally.add,
                slots=tiles_at_once(setup.grid, cluster.threads or 1),
            )
        if failures:
            raise _failed(failures, setup.grid, tally.done)
        statistics = reduce(MapStatistics.merge, tally.statistics)
        attrs = setup.empty_map().attrs | about_job(run, statistics)
        finish_store(str(run.store), attrs)
        return statistics


@contextmanager
def _kept_for_later(run: RunFolder, tiles: int) -> Iterator[None]:
    """Say what is kept where a job stops; what holds no finished tile is removed."""
    try:
        yield
    except BaseException as error:
        try:
            finished = run.finished_tiles()
            if not finished:
                run.discard()
        except Exception as another:
            # The same disk or server, most likely: what stopped the job is the error to tell.
            error.add_note(
                f"what is finished may be kept in {run.folder}, which cannot be read now "
                f"({another}); go on with resume=True (--resume)"
            )
        else:
            if finished:
                error.add_note(
                    f"{finished} of {tiles} tiles are finished and kept in {run.folder}; go on "
                    "with resume=True (--resume)"
                )
        raise


@contextmanager
def _work_on(cluster: JobCluster, setup: JobSetup, run: RunFolder) -> Iterator[str]:
    """Bring the work to the workers for as long as the block runs."""
    # Of this very run: another map of the same scene may be made on the same workers.
    name = f"seg4eo-{run.run.name}-{uuid.uuid4().hex[:8]}"
    plugin = TilePlugin(name, setup.work(run), threads=cluster.threads, here=cluster.here)
    cluster.client.register_plugin(plugin, name=name)
    try:
        yield name
    finally:
        # Waits for what is being written, so that nothing is written after this; a worker that dies
        # now writes nothing anyway.
        with may_be_gone(cluster.client):
            cluster.client.unregister_worker_plugin(name)  # type: ignore[no-untyped-call]


def _failed(failures: Mapping[Tile, BaseException], grid: TileGrid, done: int) -> JobFailedError:
    lines = []
    for tile, error in list(failures.items())[:_SHOWN_FAILURES]:
        rows, columns = grid.spans(tile)
        lines.append(
            f"tile {tile.row}.{tile.column} (rows {rows.start}..{rows.stop - 1}, columns "
            f"{columns.start}..{columns.stop - 1}): {type(error).__name__}: {error}"
        )
    untried = len(grid) - done - len(failures)
    rest = f", and {untried} were not tried since so many failed (max_failures)" if untried else ""
    told = f"{len(failures)} of {len(grid)} tiles failed{rest}:"
    failed = JobFailedError("\n".join([told, *lines]), failures)
    failed.__cause__ = next(iter(failures.values()))
    return failed
