"""The xarray accessor ``.seg4eo``: the public functions as methods of scenes and maps.

Methods only pass their arguments on. Imports stand inside, so that registering costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import xarray as xr

if TYPE_CHECKING:
    from os import PathLike
    from pathlib import Path

    from matplotlib.axes import Axes

    from seg4eo_xr.evaluation.confusion import Evaluation
    from seg4eo_xr.inference.options import PredictOptions
    from seg4eo_xr.models.checkpoint import Checkpoint
    from seg4eo_xr.patches.options import ExtractOptions
    from seg4eo_xr.patches.store import PatchStore
    from seg4eo_xr.scenes.contract import Contract


@xr.register_dataarray_accessor("seg4eo")
class SceneAccessor:
    """Methods of a scene, a DataArray ``(band, y, x)``, as ``scene.seg4eo``."""

    def __init__(self, scene: xr.DataArray) -> None:
        self._scene = scene

    def predict(
        self,
        model: str | Path | Checkpoint,
        options: PredictOptions | None = None,
        *,
        probabilities: bool = False,
        **changes: Any,
    ) -> xr.Dataset:
        """Predict the scene lazily; see `seg4eo_xr.predict`."""
        from seg4eo_xr.inference.predict import predict

        return predict(self._scene, model, options, probabilities=probabilities, **changes)

    def extract_patches(
        self,
        labels: xr.DataArray,
        store: str | Path,
        options: ExtractOptions | None = None,
        **arguments: Any,
    ) -> PatchStore:
        """Cut the scene and its labels into a patch store; see `seg4eo_xr.extract_patches`."""
        from seg4eo_xr.patches.extract import extract_patches

        return extract_patches(self._scene, labels, store, options, **arguments)

    def normalize(self, contract: Contract) -> xr.DataArray:
        """Turn stored numbers into the input of a network, lazily; see `seg4eo_xr.normalize`."""
        from seg4eo_xr.scenes.conform import conform
        from seg4eo_xr.scenes.contract import normalize
        from seg4eo_xr.scenes.open import band_scaling, open_scene

        scene = conform(open_scene(self._scene), contract)
        own = contract.of_scene(scene.rio.nodata, *band_scaling(scene))
        result = scene.copy(data=normalize(scene.data, own))
        # The numbers are no longer those that nodata, scale and offset speak of.
        result.attrs = {"long_name": "normalised value", "units": "1"}
        result.encoding = {}
        return result

    def plot(self, **options: Any) -> Axes:
        """Draw a scene as a colour picture, or labels in the colours of their classes.

        See `seg4eo_xr.plotting.plot_scene` and `seg4eo_xr.plotting.plot_labels`.
        """
        from seg4eo_xr.plotting import plot_labels, plot_scene

        array = self._scene
        if "band" not in array.coords and "band" not in array.dims:
            return plot_labels(array, **options)
        return plot_scene(array if "band" in array.dims else array.expand_dims("band"), **options)


@xr.register_dataset_accessor("seg4eo")
class MapAccessor:
    """Methods of a map, a Dataset with the layer ``classes``, as ``prediction.seg4eo``."""

    def __init__(self, prediction: xr.Dataset) -> None:
        self._map = prediction

    def to_cog(
        self,
        path: str | PathLike[str],
        *,
        overwrite: bool = False,
        **other_layers: str | PathLike[str],
    ) -> Path:
        """Write the map as a cloud-optimised GeoTIFF; see `seg4eo_xr.write_cog`."""
        from seg4eo_xr.maps.cog import write_cog

        return write_cog(self._map, path, overwrite=overwrite, **other_layers)

    def to_zarr(self, path: str | PathLike[str], *, overwrite: bool = False) -> Path:
        """Write all layers of the map as a Zarr store; see `seg4eo_xr.write_zarr`."""
        from seg4eo_xr.maps.store import write_zarr

        return write_zarr(self._map, path, overwrite=overwrite)

    def evaluate(self, reference: Any, **options: Any) -> Evaluation:
        """Hold the map against reference labels; see `seg4eo_xr.evaluate`."""
        from seg4eo_xr.evaluation.confusion import evaluate

        return evaluate(self._map, reference, **options)

    def plot(self, **options: Any) -> Axes:
        """Draw the class layer with its legend; see `seg4eo_xr.plotting.plot_map`."""
        from seg4eo_xr.evaluation.confusion import class_layer
        from seg4eo_xr.plotting import plot_map

        return plot_map(class_layer(self._map), **options)
