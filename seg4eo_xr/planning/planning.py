"""Work out what a prediction will cost, before it runs."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import dask.array as da
import psutil
from dask.system import CPU_COUNT

from seg4eo_xr.geometry.tiles import tile_grid
from seg4eo_xr.inference.advice import speed_advice
from seg4eo_xr.inference.job_options import JobOptions
from seg4eo_xr.inference.options import PredictOptions
from seg4eo_xr.inference.predict import make_runner
from seg4eo_xr.inference.symmetries import SYMMETRIES
from seg4eo_xr.models.checkpoint import Checkpoint, load_checkpoint
from seg4eo_xr.options import changed
from seg4eo_xr.planning.activations import forward_bytes
from seg4eo_xr.planning.costs import Load, job_work, lazy_work, run_seconds, tile_spans
from seg4eo_xr.planning.filled import filled_windows
from seg4eo_xr.planning.memory import ChunkShape, NetworkMemory, peak_memory
from seg4eo_xr.planning.plan import Plan, WayCost
from seg4eo_xr.planning.timing import calibrate as measure_rates
from seg4eo_xr.planning.timing import process_seconds
from seg4eo_xr.running import active_client
from seg4eo_xr.scenes.conform import conform
from seg4eo_xr.scenes.open import band_scaling, open_scene

if TYPE_CHECKING:
    from pathlib import Path

    import xarray as xr

    from seg4eo_xr.geometry.tiles import TileGrid
    from seg4eo_xr.inference.window_runner import WindowRunner
    from seg4eo_xr.planning.costs import Rates, Spans, Work
    from seg4eo_xr.planning.filled import Filled
    from seg4eo_xr.planning.memory import Memory

# Tiles that a worker makes at a time, so that no core waits for a tile's end.
_TILES_AT_ONCE = 2


def plan(
    scene: xr.DataArray,
    model: str | Path | Checkpoint,
    options: PredictOptions | None = None,
    job: JobOptions | None = None,
    *,
    machines: int = 1,
    calibrate: bool = True,
    **changes: Any,
) -> Plan:
    """Tell what predicting a scene will cost, lazily and as a job.

    Parameters
    ----------
    scene
        Stored numbers, ``(band, y, x)``, as `open_scene` gives them; also one of a whole continent.
    model
        A checkpoint, or the path of one.
    options
        How to predict.
    job
        How a job cuts the scene into tiles.
    machines
        Machines like this one that share the work.
    calibrate
        Whether to measure this machine for time and storage: some seconds, in which a few blocks of
        the scene are read, some windows are searched for data, and windows run as they will.
        Otherwise nothing is read and nothing runs.
    **changes
        Fields of `PredictOptions` to set, as ``overlap=128``.

    Returns
    -------
    Plan
        Work, memory, time and storage. Windows without data are skipped in a run; how many hold
        data is an estimate, from where the scenes of a mosaic or the polygons of an area lie, and
        from a sample of windows. The time is that of computing and of writing a Zarr store; a
        GeoTIFF made of it comes on top.

    Raises
    ------
    ValueError
        If the scene lacks a band of the model's, or an option does not fit.
    FileNotFoundError
        If there is no such checkpoint.

    Examples
    --------
    >>> from seg4eo_xr.testing import synthetic_sentinel2, untrained_checkpoint
    >>> scene, labels = synthetic_sentinel2((64, 96), chunks=64)
    >>> model = untrained_checkpoint(scene, labels)
    >>> plan(scene, model, overlap=16, calibrate=False).lazy.work.windows
    2
    """
    if machines < 1:
        raise ValueError(f"machines must be at least 1, got {machines}")
    job = job or JobOptions()
    held = psutil.Process().memory_info().rss
    started = time.perf_counter()
    options = changed(options, PredictOptions, changes)
    array, runner = _prepared(scene, model, options)
    rates, starting = None, 0.0
    if calibrate:
        loading = time.perf_counter() - started
        rates = measure_rates(array, runner)
        rates = replace(rates, start_seconds=rates.start_seconds + loading)
        if job.workers and active_client() is None:
            starting = process_seconds(job.workers)
    filled = filled_windows(array, runner, read=calibrate)
    case = _Case(array, runner, _load(array, runner), rates, machines, filled)
    grid = tile_grid(
        *(spans[0].axis for spans in runner.spans),
        tile_size=job.tile_size,
        windows_per_chunk=options.windows_per_chunk,
    )
    window, overlap = case.window
    return Plan(
        shape=array.shape,
        window=window,
        overlap=overlap,
        batch_size=runner.batch_size,
        precision=runner.network.precision,
        device=case.device,
        machines=machines,
        held_bytes=held,
        lazy=case.lazily(held),
        job=case.as_job(grid, job.workers or 1, held, starting),
        rates=rates,
        advice=speed_advice(runner),
        data_from=filled.basis,
    )


def _prepared(
    scene: xr.DataArray, model: str | Path | Checkpoint, options: PredictOptions
) -> tuple[da.Array, WindowRunner]:
    checkpoint = model if isinstance(model, Checkpoint) else load_checkpoint(model)
    scene = conform(open_scene(scene), checkpoint.contract)
    runner = make_runner((scene.sizes["y"], scene.sizes["x"]), checkpoint, options)
    own_contract = checkpoint.contract.of_scene(scene.rio.nodata, *band_scaling(scene))
    return da.asarray(scene.data), replace(runner, contract=own_contract)


def _load(array: da.Array, runner: WindowRunner) -> Load:
    encoding = runner.encoding
    many = {"probabilities": len(encoding.codes)}
    return Load(
        bands=array.shape[0],
        itemsize=array.dtype.itemsize,
        written=sum(encoding.dtype(n).itemsize * many.get(n, 1) for n in encoding.layers),
        layers=len(encoding.layers),
        channels=encoding.summed,
        batch_size=runner.batch_size,
        symmetries=SYMMETRIES if runner.network.tta else 1,
    )


@dataclass(frozen=True)
class _Case:
    """One prediction, whose cost each way is asked for."""

    array: da.Array
    runner: WindowRunner
    load: Load
    rates: Rates | None
    machines: int
    filled: Filled

    @property
    def device(self) -> str:
        return self.runner.network.resolve_device()

    @property
    def window(self) -> tuple[int, int]:
        axis = self.runner.spans[0][0].axis
        return axis.window, axis.overlap

    def lazily(self, held: int) -> WayCost:
        """Cost of one graph, in this process or on workers that are like it."""
        spans = self.runner.spans
        tasks = len(self.array.__dask_graph__())
        work = lazy_work(spans, self.array.chunks[1:], tasks, self.load, self.filled)
        memory = self._memory(spans, len(spans[1]), CPU_COUNT, held)
        return self._cost(work, spans, memory)

    def as_job(self, grid: TileGrid, processes: int, held: int, starting: float) -> WayCost:
        """Cost of independent tiles, made by processes of one machine that take time to start."""
        spans = tile_spans(grid)
        tile = max(len(grid.horizontal.tile(i).spans) for i in range(grid.horizontal.count))
        columns = _TILES_AT_ONCE * tile
        memory = self._memory(spans, columns, -(-CPU_COUNT // processes), held)
        work = job_work(grid, self.load, self.filled)
        return self._cost(work, spans, memory.times(processes), starting)

    def _memory(self, spans: Spans, columns: int, lanes: int, held: int) -> Memory:
        network = self.runner.network
        vertical, horizontal = (axis[0].axis for axis in spans)
        shape = (self.load.batch_size, self.load.bands, vertical.window, horizontal.window)
        chunk = ChunkShape(
            reach=(max(s.reach for s in spans[0]), max(s.reach for s in spans[1])),
            window=(vertical.window, horizontal.window),
            overlap=(vertical.overlap, horizontal.overlap),
            block=(max(self.array.chunks[1]), max(self.array.chunks[2])),
            columns=columns,
        )
        weights = sum(tensor.nbytes for tensor in network.module.parameters())
        memory = NetworkMemory(weights, forward_bytes(network.module, shape, network.precision))
        on_device = self.device != "cpu"
        return peak_memory(chunk, self.load, memory, lanes=lanes, on_device=on_device, held=held)

    def _cost(self, work: Work, spans: Spans, memory: Memory, starting: float = 0.0) -> WayCost:
        if self.rates is None:
            return WayCost(work, memory, None, None, None)
        running = run_seconds(spans, self.load, self.rates, self.machines, self.filled)
        seconds = starting + running
        # What is missing takes next to no room.
        held = work.windows_with_data / work.windows
        stored = round(work.bytes_written * self.rates.stored_share * held)
        return WayCost(work, memory, seconds, stored, seconds * self.machines / 3600)
