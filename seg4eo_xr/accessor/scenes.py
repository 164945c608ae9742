"""Methods of scenes, time series and labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import xarray as xr

from seg4eo_xr.accessor.listing import Listing

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import geopandas as gpd
    from matplotlib.axes import Axes

    from seg4eo_xr.inference.job_options import JobOptions
    from seg4eo_xr.inference.options import PredictOptions
    from seg4eo_xr.jobs.result import JobResult
    from seg4eo_xr.models.checkpoint import Checkpoint
    from seg4eo_xr.patches.options import ExtractOptions
    from seg4eo_xr.patches.store import PatchStore
    from seg4eo_xr.planning.plan import Plan
    from seg4eo_xr.scenes.composites import Composite
    from seg4eo_xr.scenes.contract import Contract, NodataRule
    from seg4eo_xr.scenes.masks import Hidden

AnyMap = xr.Dataset | xr.DataArray | str

_OF_LABELS = frozenset({"class_counts", "explore", "plot"})
_OF_LABELS_ALONE = frozenset({"class_counts"})


@xr.register_dataarray_accessor("seg4eo")
class SceneAccessor(Listing):
    """Methods of a scene ``(band, y, x)``, a time series or labels, as ``scene.seg4eo``.

    Parameters
    ----------
    scene
        The array; xarray hands it over.

    Examples
    --------
    >>> from seg4eo_xr.testing import synthetic_sentinel2
    >>> scene, labels = synthetic_sentinel2((64, 64), chunks=32)
    >>> clear = scene.seg4eo.mask_scene(labels, [5]).seg4eo.harmonize(shift=-100)
    >>> clear.chunks is not None
    True
    """

    def __init__(self, scene: xr.DataArray) -> None:
        self._scene = scene

    def __dir__(self) -> list[str]:
        """Names of what suits the array: labels have no bands, and bands are no classes."""
        from seg4eo_xr.scenes.classes import holds_classes

        names = set(super().__dir__())
        if holds_classes(self._scene):
            names = {name for name in names if name.startswith("_") or name in _OF_LABELS}
        elif "band" in self._scene.dims:
            names -= _OF_LABELS_ALONE
        return sorted(names)

    def clip_scene(
        self, area: gpd.GeoDataFrame | str | Path, *, nodata: float | None = None
    ) -> xr.DataArray:
        """Crop the scene to polygons, lazily; see `seg4eo_xr.clip_scene`."""
        from seg4eo_xr.scenes.clipping import clip_scene

        return clip_scene(self._scene, area, nodata=nodata)

    def mask_scene(
        self,
        mask: xr.DataArray | str | Path,
        hidden: Hidden | Sequence[int],
        *,
        nodata: float | None = None,
    ) -> xr.DataArray:
        """Turn clouds and the like into nodata, lazily; see `seg4eo_xr.mask_scene`."""
        from seg4eo_xr.scenes.masks import mask_scene

        return mask_scene(self._scene, mask, hidden, nodata=nodata)

    def harmonize(
        self, metadata: Mapping[str, Any] | str | Path | None = None, *, shift: int | None = None
    ) -> xr.DataArray:
        """Bring Sentinel-2 numbers to one convention, lazily; see `seg4eo_xr.harmonize`."""
        from seg4eo_xr.scenes.harmonize import harmonize

        return harmonize(self._scene, metadata, shift=shift)

    def composite(self, how: Composite = "median") -> xr.DataArray:
        """Turn a time series into one scene, lazily; see `seg4eo_xr.composite`."""
        from seg4eo_xr.scenes.composites import composite

        return composite(self._scene, how)

    def scenes_of(self) -> dict[str, xr.DataArray]:
        """Part a time series into a scene a date; see `seg4eo_xr.scenes_of`."""
        from seg4eo_xr.scenes.cubes import scenes_of

        return scenes_of(self._scene)

    def band_statistics(self, *, nodata_rule: NodataRule = "any") -> xr.Dataset:
        """Count, mean and percentiles of each band in one pass; see `seg4eo_xr.band_statistics`."""
        from seg4eo_xr.scenes.statistics import band_statistics

        return band_statistics(self._scene, nodata_rule=nodata_rule)

    def class_counts(self) -> dict[int, int]:
        """Pixels of each code, where the array holds labels; see `seg4eo_xr.class_counts`."""
        from seg4eo_xr.scenes.statistics import class_counts

        return class_counts(self._scene)

    def open_labels(
        self, source: str | Path | xr.DataArray | gpd.GeoDataFrame, **arguments: Any
    ) -> xr.DataArray:
        """Open labels on the scene's grid, lazily; see `seg4eo_xr.open_labels`."""
        from seg4eo_xr.scenes.labels import open_labels

        return open_labels(source, like=self._scene, **arguments)

    def extract_patches(
        self,
        labels: str | Path | xr.DataArray | gpd.GeoDataFrame,
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

    def plan(
        self,
        model: str | Path | Checkpoint,
        options: PredictOptions | None = None,
        **arguments: Any,
    ) -> Plan:
        """Tell what predicting the scene will cost; see `seg4eo_xr.plan`."""
        from seg4eo_xr.planning.planning import plan

        return plan(self._scene, model, options, **arguments)

    def predict(
        self,
        model: str | Path | Checkpoint,
        options: PredictOptions | None = None,
        **changes: Any,
    ) -> xr.Dataset:
        """Predict the scene lazily; see `seg4eo_xr.predict`."""
        from seg4eo_xr.inference.predict import predict

        return predict(self._scene, model, options, **changes)

    def predict_to_zarr(
        self,
        model: str | Path | Checkpoint,
        output: str | Path,
        options: PredictOptions | None = None,
        job: JobOptions | None = None,
        **arguments: Any,
    ) -> JobResult:
        """Predict the scene as a job of tiles; see `seg4eo_xr.predict_to_zarr`."""
        from seg4eo_xr.jobs.job import predict_to_zarr

        return predict_to_zarr(self._scene, model, output, options, job, **arguments)

    def predict_series(
        self,
        model: str | Path | Checkpoint,
        output: str | Path,
        options: PredictOptions | None = None,
        job: JobOptions | None = None,
        **arguments: Any,
    ) -> dict[str, JobResult]:
        """Predict a time series as a job a date; see `seg4eo_xr.predict_series`."""
        from seg4eo_xr.jobs.job import predict_series

        return predict_series(self._scene, model, output, options, job, **arguments)

    def plot(self, **options: Any) -> Axes:
        """Draw a scene in colour, labels in those of their classes, or a layer of real numbers.

        Parameters
        ----------
        **options
            ``ax``, ``figsize`` and ``title``, for a scene ``bands``, for labels ``legend``: those
            of `plot_scene`, `plot_labels` or `plot_confidence` of `seg4eo_xr.plotting`.
        """
        from seg4eo_xr.plotting import plot_confidence, plot_labels, plot_scene

        array = self._scene
        if "band" in array.coords or "band" in array.dims:
            scene = array if "band" in array.dims else array.expand_dims("band")
            return plot_scene(scene, **options)
        return (plot_confidence if array.dtype.kind == "f" else plot_labels)(array, **options)

    def overlay(self, classes: AnyMap, **options: Any) -> Axes:
        """Draw a map or labels over the scene; see `seg4eo_xr.plotting.plot_overlay`."""
        from seg4eo_xr.plotting import plot_overlay

        return plot_overlay(self._scene, classes, **options)

    def explore(self, prediction: AnyMap | None = None, **options: Any) -> Any:
        """Look at the scene, and a map if there is one, on a web map.

        An array without bands is taken for labels. Needs folium; see
        `seg4eo_xr.plotting.explore`.
        """
        from seg4eo_xr.plotting import explore

        if "band" not in self._scene.dims:
            return explore(self._scene if prediction is None else prediction, **options)
        return explore(prediction, scene=self._scene, **options)
