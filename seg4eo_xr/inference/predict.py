"""Predict a scene: what users call."""

from __future__ import annotations

from dataclasses import replace
from heapq import heapreplace
from itertools import product
from typing import TYPE_CHECKING, Any

import dask.array as da
import xarray as xr
from dask.system import CPU_COUNT

from seg4eo_xr.geometry.windows import WindowAxis, chunk_spans
from seg4eo_xr.inference.layers import MapEncoding, map_format
from seg4eo_xr.inference.network import Network, resolve_device
from seg4eo_xr.inference.options import PredictOptions
from seg4eo_xr.inference.overlap_add import predict_chunks
from seg4eo_xr.inference.window_runner import WindowRunner
from seg4eo_xr.models.checkpoint import Checkpoint, load_checkpoint
from seg4eo_xr.options import with_changes
from seg4eo_xr.scenes.conform import conform
from seg4eo_xr.scenes.grid import grid_transform
from seg4eo_xr.scenes.open import band_scaling, open_scene

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from seg4eo_xr.inference.layers import LayerName

# With more chunks than this for a core, the last ones no longer matter.
_MANY_CHUNKS = 50


def predict(
    scene: xr.DataArray,
    model: str | Path | Checkpoint,
    options: PredictOptions | None = None,
    *,
    probabilities: bool = False,
    **changes: Any,
) -> xr.Dataset:
    """Predict a scene lazily: nothing is read and nothing runs before you compute or write it.

    Every window of a global grid runs exactly once, on threads or on the workers of the dask client
    in use, and the result has the same bits whatever the chunks and the scheduler. Layers that are
    computed in one call share the windows.

    Parameters
    ----------
    scene
        Stored numbers, ``(band, y, x)``, with band names and a CRS, as `open_scene` gives them.
    model
        A checkpoint, or the path of one.
    options
        How to predict.
    probabilities
        Whether to give the probability of each class as a layer too.
    **changes
        Fields of `PredictOptions` to set, as ``overlap=128``.

    Returns
    -------
    Dataset
        ``classes`` (codes of the training labels; uint8, or 16 bits where the codes need them),
        ``confidence`` (float32, probability of the class given) and on request ``probabilities
        (class, y, x)``, on the scene's grid.

    Raises
    ------
    ValueError
        If the scene lacks a band of the model's, or an option does not fit.
    FileNotFoundError
        If there is no such checkpoint.

    Examples
    --------
    >>> import seg4eo_xr as seg
    >>> scene = seg.open_scene("s2.tif")  # doctest: +SKIP
    >>> seg.predict(scene, "run/model_best_iou.pth", overlap=64)  # doctest: +SKIP
    """
    options = with_changes(options or PredictOptions(), changes)
    checkpoint = model if isinstance(model, Checkpoint) else load_checkpoint(model)
    scene = conform(open_scene(scene), checkpoint.contract)
    names: tuple[LayerName, ...] = ("classes", "confidence")
    runner = make_runner(
        (scene.sizes["y"], scene.sizes["x"]),
        checkpoint,
        options,
        (*names, "probabilities") if probabilities else names,
    )
    own_contract = checkpoint.contract.of_scene(scene.rio.nodata, *band_scaling(scene))
    layers = predict_chunks(da.asarray(scene.data), replace(runner, contract=own_contract))
    return _as_dataset(layers, scene, runner, checkpoint, options)


def make_runner(
    shape: tuple[int, int],
    checkpoint: Checkpoint,
    options: PredictOptions,
    layers: tuple[LayerName, ...] = ("classes", "confidence"),
) -> WindowRunner:
    """Lay the window grid over a scene and make the kernel that runs it.

    Parameters
    ----------
    shape
        Height and width of the scene in pixels.
    checkpoint, options
        What to run, and how.
    layers
        Which layers to make.

    Returns
    -------
    WindowRunner
        With the spans of windows that each chunk owns.
    """
    side = options.patch_size or checkpoint.patch_size
    overlap = side // 4 if options.overlap is None else options.overlap
    axes = [WindowAxis(size, side, overlap) for size in shape]
    on_processor = resolve_device(options.device) == "cpu"
    wanted = options.windows_per_chunk or _windows_a_side(axes, CPU_COUNT if on_processor else 1)
    spans = tuple(chunk_spans(axis, axis.windows_per_chunk(wanted)) for axis in axes)
    codes = checkpoint.contract.classes.codes
    encoding = MapEncoding(
        codes=codes,
        threshold=options.threshold if checkpoint.mode == "binary" else None,
        nodata=map_format(codes, options.output_nodata)[1],
        layers=layers,
    )
    network = Network.from_checkpoint(
        checkpoint, precision=options.precision, device=options.device
    )
    return WindowRunner(
        network=network,
        contract=checkpoint.contract,
        encoding=encoding,
        spans=(spans[0], spans[1]),
        blending=options.blending,
        batch_size=options.batch_size or (1 if on_processor else 16),
    )


def _windows_a_side(axes: Sequence[WindowAxis], cores: int) -> int:
    """Windows along a side of a chunk, up to 4, with which `cores` end soonest.

    Where there are few chunks, cores wait for the last ones to end; the larger chunk wins a tie, as
    its neighbours share less.
    """

    def end(wanted: int) -> int:
        rows, columns = (axis.windows_per_chunk(wanted) for axis in axes)
        if len(rows) * len(columns) > _MANY_CHUNKS * cores:
            return 0
        free = [0] * cores
        for row, column in product(rows, columns):
            heapreplace(free, free[0] + row * column)
        return max(free)

    return min((4, 3, 2), key=end)


def _as_dataset(
    layers: dict[LayerName, da.Array],
    scene: xr.DataArray,
    runner: WindowRunner,
    checkpoint: Checkpoint,
    options: PredictOptions,
) -> xr.Dataset:
    classes = checkpoint.contract.classes
    arrays = {
        layer: xr.DataArray(
            values,
            dims=("class", "y", "x") if layer == "probabilities" else ("y", "x"),
            attrs=_layer_attrs(layer, checkpoint, runner.encoding.nodata),
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
        "precision": options.precision,
        **({} if runner.encoding.threshold is None else {"threshold": options.threshold}),
    }
    dataset.rio.write_crs(scene.rio.crs, inplace=True)
    dataset.rio.write_transform(grid_transform(scene, "the scene"), inplace=True)
    return dataset


def _layer_attrs(layer: LayerName, checkpoint: Checkpoint, nodata: int) -> dict[str, Any]:
    if layer == "classes":
        return {
            "long_name": "class",
            "_FillValue": nodata,
            **checkpoint.contract.classes.to_attrs(),
        }
    if layer == "confidence":
        return {"long_name": "probability of the class given"}
    return {"long_name": "probability of each class"}
