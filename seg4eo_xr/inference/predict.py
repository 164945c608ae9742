"""Predict a scene: what users call."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from math import prod
from typing import TYPE_CHECKING, Any

import dask.array as da
import xarray as xr
from dask.system import CPU_COUNT

from seg4eo_xr.geometry.windows import WindowAxis, chunk_spans
from seg4eo_xr.inference.layers import MapEncoding
from seg4eo_xr.inference.network import Network, resolve_device
from seg4eo_xr.inference.overlap_add import predict_chunks
from seg4eo_xr.inference.window_runner import WindowRunner
from seg4eo_xr.models.checkpoint import Checkpoint, load_checkpoint
from seg4eo_xr.scenes.conform import conform
from seg4eo_xr.scenes.open import band_scaling, open_scene

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from seg4eo_xr.geometry.blending import TaperKind
    from seg4eo_xr.inference.layers import LayerName
    from seg4eo_xr.inference.network import Device, Precision


@dataclass(frozen=True)
class PredictOptions:
    """How a scene is predicted."""

    patch_size: int | None = None
    """Side of a window in pixels; the side of the training patches if not given."""

    overlap: int | None = None
    """Pixels that neighbouring windows share; a quarter of the window if not given."""

    blending: TaperKind = "hann"
    """How a window's weight falls towards its edges."""

    batch_size: int | None = None
    """Windows a forward pass; 2 on a processor and 16 on an accelerator if not given."""

    windows_per_chunk: int | None = None
    """Windows along a side of a chunk; 4 if not given, fewer where a scene is too small to keep all
    cores busy so. It changes memory and speed, and not a bit of the result."""

    threshold: float = 0.5
    """Probability from which a binary model's pixel belongs to the second class."""

    precision: Precision = "float32"
    """Number format of the forward pass."""

    device: Device = "auto"
    """Where the network runs."""

    output_nodata: int = 255
    """Code of missing pixels in the class layer."""

    probabilities: bool = False
    """Also give the probability of each class."""

    def __post_init__(self) -> None:
        for name in ("patch_size", "batch_size", "windows_per_chunk"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")


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
        Stored numbers, ``(band, y, x)``, with band names and a CRS, as `open_scene` gives them.
    model
        A checkpoint, or the path of one.
    options
        How to predict.
    **changes
        Fields of `PredictOptions` to set, as ``overlap=128``.

    Returns
    -------
    Dataset
        ``classes`` (uint8 codes of the training labels), ``confidence`` (float32, probability of
        the class given) and on request ``probabilities (class, y, x)``, on the scene's grid.

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
    options = replace(options or PredictOptions(), **changes)
    checkpoint = model if isinstance(model, Checkpoint) else load_checkpoint(model)
    scene = conform(open_scene(scene), checkpoint.contract)
    runner = make_runner((scene.sizes["y"], scene.sizes["x"]), checkpoint, options)
    own_contract = checkpoint.contract.of_scene(scene.rio.nodata, *band_scaling(scene))
    layers = predict_chunks(da.asarray(scene.data), replace(runner, contract=own_contract))
    return _as_dataset(layers, scene, runner, checkpoint, options)


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
        With the spans of windows that each chunk owns.
    """
    side = options.patch_size or checkpoint.patch_size
    overlap = side // 4 if options.overlap is None else options.overlap
    axes = [WindowAxis(size, side, overlap) for size in shape]
    wanted = options.windows_per_chunk or _windows_for_all_cores(axes)
    spans = tuple(chunk_spans(axis, axis.windows_per_chunk(wanted)) for axis in axes)
    layers: tuple[LayerName, ...] = ("classes", "confidence")
    encoding = MapEncoding(
        codes=checkpoint.contract.classes.codes,
        threshold=options.threshold if checkpoint.mode == "binary" else None,
        nodata=options.output_nodata,
        layers=(*layers, "probabilities") if options.probabilities else layers,
    )
    on_processor = resolve_device(options.device) == "cpu"
    return WindowRunner(
        network=Network.from_checkpoint(
            checkpoint, precision=options.precision, device=options.device
        ),
        contract=checkpoint.contract,
        encoding=encoding,
        spans=(spans[0], spans[1]),
        blending=options.blending,
        batch_size=options.batch_size or (2 if on_processor else 16),
    )


def _windows_for_all_cores(axes: Sequence[WindowAxis]) -> int:
    """Most windows a chunk, up to 4 a side, that leave two chunks or more for each core."""
    for wanted in (4, 3):
        chunks = prod(len(axis.windows_per_chunk(wanted)) for axis in axes)
        if chunks >= 2 * CPU_COUNT:
            return wanted
    return 2


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
            attrs=_layer_attrs(layer, checkpoint, options),
        )
        for layer, values in layers.items()
    }
    dataset = xr.Dataset(arrays, coords={"y": scene["y"], "x": scene["x"]})
    if options.probabilities:
        dataset = dataset.assign_coords({"class": list(classes.names)})
    axis = runner.spans[0][0].axis
    dataset.attrs = {
        "title": "land cover predicted by a neural network",
        "model": f"{checkpoint.spec.model} / {checkpoint.spec.encoder_name}",
        "model_token": runner.network.token,
        "window": axis.window,
        "overlap": axis.overlap,
        **{
            name: value
            for name, value in asdict(options).items()
            if name in ("blending", "threshold", "precision")
        },
        "batch_size": runner.batch_size,
    }
    dataset = dataset.rio.write_crs(scene.rio.crs)
    return dataset.rio.write_transform(scene.rio.transform(recalc=True))


def _layer_attrs(
    layer: LayerName, checkpoint: Checkpoint, options: PredictOptions
) -> dict[str, Any]:
    if layer == "classes":
        return {
            "long_name": "class",
            "_FillValue": options.output_nodata,
            **checkpoint.contract.classes.to_attrs(),
        }
    if layer == "confidence":
        return {"long_name": "probability of the class given", "units": "1"}
    return {"long_name": "probability of each class", "units": "1"}
