"""Methods of maps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import xarray as xr

from seg4eo_xr.accessor.listing import Listing

if TYPE_CHECKING:
    from collections.abc import Mapping
    from os import PathLike
    from pathlib import Path

    import geopandas as gpd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from seg4eo_xr.areas.sample_options import SampleOptions
    from seg4eo_xr.calibration.reliability import Reliability
    from seg4eo_xr.evaluation.evaluate_options import EvaluateOptions
    from seg4eo_xr.evaluation.result import Evaluation
    from seg4eo_xr.evaluation.transitions import MapChange
    from seg4eo_xr.maps.statistics import MapStatistics
    from seg4eo_xr.postprocessing.polygon_options import PolygonOptions


@xr.register_dataset_accessor("seg4eo")
class MapAccessor(Listing):
    """Methods of a map, a Dataset with the layer ``classes``, as ``prediction.seg4eo``.

    Parameters
    ----------
    prediction
        The Dataset; xarray hands it over.

    Examples
    --------
    >>> from seg4eo_xr.testing import synthetic_sentinel2
    >>> _, labels = synthetic_sentinel2((64, 64), chunks=32)
    >>> calm = labels.to_dataset(name="classes").seg4eo.majority_filter(3).seg4eo.sieve(9)
    >>> calm["classes"].chunks is not None
    True
    """

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

    def to_region(self, folder: str | PathLike[str], **options: Any) -> Path:
        """Publish the map as COGs with a VRT and STAC items; see `seg4eo_xr.write_region`."""
        from seg4eo_xr.maps.regions import write_region

        return write_region(self._map, folder, **options)

    def to_polygons(
        self,
        output: str | PathLike[str] | None = None,
        options: PolygonOptions | None = None,
        **arguments: Any,
    ) -> gpd.GeoDataFrame | Path:
        """Turn the map into polygons; see `seg4eo_xr.to_polygons`."""
        from seg4eo_xr.postprocessing.polygons import to_polygons

        if output is None:
            return to_polygons(self._map, None, options, **arguments)
        return to_polygons(self._map, output, options, **arguments)

    def majority_filter(self, size: int) -> xr.Dataset:
        """Give each pixel the most frequent class around it; see `seg4eo_xr.majority_filter`."""
        from seg4eo_xr.postprocessing.filters import majority_filter

        return majority_filter(self._map, size)

    def sieve(self, min_pixels: int) -> xr.Dataset:
        """Clear the map of components that are too small; see `seg4eo_xr.sieve`."""
        from seg4eo_xr.postprocessing.filters import sieve

        return sieve(self._map, min_pixels)

    def reclassify(self, codes: Mapping[int | str, int | None], **options: Any) -> xr.Dataset:
        """Give classes other codes; see `seg4eo_xr.reclassify`."""
        from seg4eo_xr.postprocessing.filters import reclassify

        return reclassify(self._map, codes, **options)

    def statistics(self, **options: Any) -> MapStatistics:
        """Count pixels, areas and confidence of each class; see `seg4eo_xr.map_statistics`."""
        from seg4eo_xr.maps.survey import map_statistics

        return map_statistics(self._map, **options)

    def evaluate(
        self, reference: Any, options: EvaluateOptions | None = None, **arguments: Any
    ) -> Evaluation:
        """Hold the map against reference labels; see `seg4eo_xr.evaluate`."""
        from seg4eo_xr.evaluation.confusion import evaluate

        return evaluate(self._map, reference, options, **arguments)

    def reliability(self, reference: Any, **options: Any) -> Reliability:
        """Tell how often the confidence is right; see `seg4eo_xr.reliability`."""
        from seg4eo_xr.calibration.confidence import reliability

        return reliability(self._map, reference, **options)

    def change(self, after: Any, *, warp: bool = False) -> MapChange:
        """Tell what became of each class in a later map; see `seg4eo_xr.map_change`."""
        from seg4eo_xr.evaluation.change import map_change

        return map_change(self._map, after, warp=warp)

    def change_layer(self, after: Any, *, warp: bool = False) -> xr.DataArray:
        """Map each pixel's transition to a later map, lazily; see `seg4eo_xr.change_layer`."""
        from seg4eo_xr.evaluation.change import change_layer

        return change_layer(self._map, after, warp=warp)

    def draw_sample(
        self, options: SampleOptions | None = None, **arguments: Any
    ) -> gpd.GeoDataFrame:
        """Draw points for people to judge the map by; see `seg4eo_xr.draw_sample`."""
        from seg4eo_xr.areas.sampling import draw_sample

        return draw_sample(self._map, options, **arguments)

    def plot(self, layer: str = "classes", **options: Any) -> Axes:
        """Draw the classes with their legend, or another layer with a colour bar.

        Parameters
        ----------
        layer
            Name of the layer, as ``confidence``.
        **options
            ``ax``, ``figsize`` and ``title``, for classes ``legend``: those of `plot_map` or
            `plot_confidence` of `seg4eo_xr.plotting`.

        Raises
        ------
        ValueError
            If the map has no such layer.
        """
        from seg4eo_xr.maps.store import class_layer
        from seg4eo_xr.plotting import plot_confidence, plot_map

        if layer == "classes":
            return plot_map(class_layer(self._map), **options)
        if layer not in self._map:
            raise ValueError(f"the map has no layer {layer!r}; its layers are {list(self._map)}")
        return plot_confidence(self._map[layer], **options)

    def compare(self, reference: Any, **options: Any) -> Figure:
        """Draw the map beside a reference, differences marked.

        See `seg4eo_xr.plotting.plot_comparison`.
        """
        from seg4eo_xr.plotting import plot_comparison

        return plot_comparison(self._map, reference, **options)

    def explore(self, **options: Any) -> Any:
        """Look at the map on a web map; needs folium; see `seg4eo_xr.plotting.explore`."""
        from seg4eo_xr.plotting import explore

        return explore(self._map, **options)
