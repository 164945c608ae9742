"""Predict a scene: what users call."""

from __future__ import annotations

import logging
import warnings
from collections import Counter
from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING, Any

import dask.array as da
import xarray as xr
from dask.system import CPU_COUNT

from seg4eo_xr.geometry.makespan import makespan
from seg4eo_xr.geometry.windows import WindowAxis, chunk_spans
from seg4eo_xr.inference.hardware import common_hardware, resolve_compile
from seg4eo_xr.inference.heap import keep_blocks
from seg4eo_xr.inference.layers import MapEncoding, map_format
from seg4eo_xr.inference.network import Network
from seg4eo_xr.inference.options import PredictOptions
from seg4eo_xr.inference.overlap_add import predict_chunks
from seg4eo_xr.inference.precision import resolve_precision
from seg4eo_xr.inference.window_runner import WindowRunner
from seg4eo_xr.models.checkpoint import Checkpoint, load_checkpoint
from seg4eo_xr.notices import Seg4EOWarning
from seg4eo_xr.options import changed
from seg4eo_xr.scenes.bands import has_nodata
from seg4eo_xr.scenes.conform import ValueCheck, conform
from seg4eo_xr.scenes.cubes import open_cube
from seg4eo_xr.scenes.grid import grid_transform
from seg4eo_xr.scenes.open import band_scaling, open_scene

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from seg4eo_xr.inference.layers import LayerName

_LOGGER = logging.getLogger(__name__)

# Windows that share less than this part of their side are blended over so few pixels that it shows.
_LEAST_OVERLAP = 1 / 16

# Windows along a side of a chunk at most: more would only take memory.
_MOST_WINDOWS = 4
# A processor has long finished the tasks of a chunk of about so many pixels a side when its windows
# are done; an accelerator, faster, wants full batches and few tasks.
_SIDE_ON_PROCESSOR = 1024

# What waiting cores may cost.
_NEXT_TO_NOTHING = 1.03


class SeamWarning(Seg4EOWarning):
    """Windows overlap too little to hide their borders."""


def predict(
    scene: xr.DataArray,
    model: str | Path | Checkpoint,
    options: PredictOptions | None = None,
    **changes: Any,
) -> xr.Dataset:
    """Predict a scene lazily: nothing is read and nothing runs before you compute or write it.

    Every window of a global grid runs exactly once, on threads or on the workers of the dask client
    in use, and the result has the same bits whatever the chunks and the scheduler. Layers that are
    computed in one call share the windows.

    Parameters
    ----------
    scene
        Stored numbers, ``(band, y, x)``, with band names and a CRS, as `open_scene` gives them; or
        a time series, as `open_cube` gives it, each date of which becomes a map.
    model
        A checkpoint, or the path of one.
    options
        How to predict.
    **changes
        Fields of `PredictOptions` to set, as ``overlap=128``.

    Returns
    -------
    Dataset
        ``classes`` (codes of the training labels; uint8, or 16 bits where the codes need them),
        ``confidence`` (float32, probability of the class given), or what ``layers`` asks for, on
        the scene's grid; of a time series with the dimension ``time`` before all others.

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
    >>> prediction = predict(scene, model, overlap=16)
    >>> prediction["confidence"].chunks is not None, list(prediction)
    (True, ['classes', 'confidence'])
    """
    options = changed(options, PredictOptions, changes)
    checkpoint = model if isinstance(model, Checkpoint) else load_checkpoint(model)
    has_dates = isinstance(scene, xr.DataArray) and "time" in scene.dims
    scene = conform(open_cube(scene) if has_dates else open_scene(scene), checkpoint.contract)
    runner = make_runner((scene.sizes["y"], scene.sizes["x"]), checkpoint, options)
    own_runner = of_scene(runner, scene)
    if not has_dates:
        layers = predict_chunks(da.asarray(scene.data), own_runner)
        return as_map(layers, scene, runner, checkpoint, options)
    dates = [da.asarray(scene.data[index]) for index in range(scene.sizes["time"])]
    maps = [
        as_map(predict_chunks(date, own_runner), scene, runner, checkpoint, options)
        for date in dates
    ]
    return xr.concat(
        maps,
        scene["time"].variable,
        coords="minimal",
        compat="override",
        combine_attrs="override",
        join="override",
    )


def of_scene(runner: WindowRunner, scene: xr.DataArray) -> WindowRunner:
    """Return a runner for the way in which a scene stores its numbers."""
    trained = runner.check.trained
    return replace(
        runner,
        contract=trained.of_scene(scene.rio.nodata, *band_scaling(scene)),
        check=ValueCheck(trained, trained.nodata is not None and not has_nodata(scene)),
    )


def make_runner(
    shape: tuple[int, int], checkpoint: Checkpoint, options: PredictOptions
) -> WindowRunner:
    """Lay the window grid over a scene and make the kernel that runs it.

    Parameters
    ----------
    shape
        Height and width of the scene in pixels.
    checkpoint, options
        What to run, and how.

    Returns
    -------
    WindowRunner
        With the spans of windows that each chunk owns, and with the device and the precision that
        all workers of the dask client in use have, or else this machine.

    Raises
    ------
    ValueError
        If the network refuses windows of that size (sizes that fit are named), or if a threshold
        is given for a network that has no use for it.

    Warns
    -----
    SeamWarning
        If windows overlap so little that their borders may show.
    """
    _require_use_of_threshold(checkpoint, options)
    side = options.patch_size or checkpoint.patch_size
    overlap = side // 4 if options.overlap is None else options.overlap
    axes = [WindowAxis(size, side, overlap) for size in shape]
    _warn_of_seams(axes)
    hardware = common_hardware(options.device)
    on_processor = hardware.device == "cpu"
    if on_processor:
        keep_blocks()  # before there are threads to run on
    wanted = options.windows_per_chunk or _windows_a_side(
        axes,
        cores=CPU_COUNT if on_processor else 1,
        most=_SIDE_ON_PROCESSOR // axes[0].stride if on_processor else _MOST_WINDOWS,
    )
    spans = tuple(chunk_spans(axis, axis.windows_per_chunk(wanted)) for axis in axes)
    codes = checkpoint.contract.classes.codes
    encoding = MapEncoding(
        codes=codes,
        threshold=options.threshold if checkpoint.mode == "binary" else None,
        nodata=map_format(codes, options.output_nodata)[1],
        layers=options.layers,
        probability_dtype=options.probability_dtype,
    )
    network = Network.from_checkpoint(
        checkpoint,
        window=side,
        precision=resolve_precision(options.precision, hardware, checkpoint.contract.normalization),
        device=hardware.device,
        compile=resolve_compile(options.compile, hardware),
        tta=options.tta,
        measures=encoding.measures,
    )
    runner = WindowRunner(
        network=network,
        contract=checkpoint.contract,
        encoding=encoding,
        spans=(spans[0], spans[1]),
        blending=options.blending,
        batch_size=options.batch_size or (1 if on_processor else 16),
        check=ValueCheck(checkpoint.contract),
    )
    _LOGGER.info(
        "predicting %d × %d px by %s / %s on %s in %s%s%s; windows of %d px that overlap by %d px, "
        "blended by %s, in batches of %d; %d × %d chunks",
        *shape,
        checkpoint.spec.model,
        checkpoint.spec.encoder_name,
        network.device,
        network.precision,
        ", compiled" if network.compile else "",
        ", with test-time augmentation" if network.tta else "",
        side,
        overlap,
        options.blending,
        runner.batch_size,
        *map(len, spans),
    )
    return runner


def _require_use_of_threshold(checkpoint: Checkpoint, options: PredictOptions) -> None:
    if checkpoint.mode == "binary" or options.threshold == PredictOptions.threshold:
        return
    raise ValueError(
        f"threshold {options.threshold} is for networks with a single output for two classes; this "
        f"one has an output for each of {len(checkpoint.contract.classes)} classes, of which the "
        "most probable is taken; leave threshold (--threshold) out"
    )


def _warn_of_seams(axes: Sequence[WindowAxis]) -> None:
    side, overlap = axes[0].window, axes[0].overlap
    if overlap < side * _LEAST_OVERLAP and any(axis.count > 1 for axis in axes):
        warnings.warn(
            f"windows of {side} px overlap by {overlap} px, so their borders may be visible in the "
            f"map; take more, as overlap={side // 4} (--overlap), a quarter of a window",
            SeamWarning,
            stacklevel=4,
        )


def _windows_a_side(axes: Sequence[WindowAxis], cores: int, most: int) -> int:
    """Windows along a side of a chunk, 2 to 4 and about `most`, with which `cores` end soon.

    Where there are few chunks, cores wait for the last ones to end; larger chunks share less with
    their neighbours, so the largest that costs next to nothing is taken.
    """
    best = axes[0].count * axes[1].count / cores

    def end(wanted: int) -> float:
        sides = (Counter(axis.windows_per_chunk(wanted)).items() for axis in axes)
        chunks = [(n * m, row * column) for (row, n), (column, m) in product(*sides)]
        return makespan(chunks, cores)

    sizes = range(min(_MOST_WINDOWS, max(2, most)), 1, -1)
    good = (wanted for wanted in sizes if end(wanted) <= _NEXT_TO_NOTHING * best)
    return next(good, min(sizes, key=end))


def as_map(
    layers: dict[LayerName, da.Array],
    scene: xr.DataArray,
    runner: WindowRunner,
    checkpoint: Checkpoint,
    options: PredictOptions,
) -> xr.Dataset:
    """Put layers on the scene's grid, with all that describes a map.

    Parameters
    ----------
    layers
        Arrays ``(y, x)`` or ``(class, y, x)`` by name.
    scene
        What was predicted.
    runner, checkpoint, options
        What it was predicted with.
    """
    classes = checkpoint.contract.classes
    arrays = {
        layer: xr.DataArray(
            values,
            dims=("class", "y", "x") if layer == "probabilities" else ("y", "x"),
            attrs=runner.encoding.attrs(layer, classes),
        )
        for layer, values in layers.items()
    }
    dataset = xr.Dataset(arrays, coords={"y": scene["y"], "x": scene["x"]})
    if "probabilities" in layers:
        dataset = dataset.assign_coords({"class": list(classes.names)})
    dataset.attrs = {
        "title": "land cover predicted by a neural network",
        "model": f"{checkpoint.spec.model} / {checkpoint.spec.encoder_name}",
        "model_token": runner.network.token,
        "window": runner.spans[0][0].axis.window,
        "overlap": runner.spans[0][0].axis.overlap,
        "blending": runner.blending,
        "batch_size": runner.batch_size,
        "precision": runner.network.precision,
        "device": runner.network.device,
        "compiled": int(runner.network.compile),
        "tta": int(runner.network.tta),
        "temperature": runner.network.temperature,
        **({} if runner.encoding.threshold is None else {"threshold": options.threshold}),
    }
    dataset.rio.write_crs(scene.rio.crs, inplace=True)
    dataset.rio.write_transform(grid_transform(scene, "the scene"), inplace=True)
    return dataset
