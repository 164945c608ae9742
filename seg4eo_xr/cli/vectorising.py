"""Maps made calmer, coarser or into polygons, as commands."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from seg4eo_xr.cli.answers import of_path
from seg4eo_xr.cli.command import Command, Told
from seg4eo_xr.cli.outputs import map_writer
from seg4eo_xr.postprocessing.polygon_options import PolygonOptions


@dataclass(frozen=True, kw_only=True)
class Polygonize(Command):
    """Turn a map into polygons with class, area, confidence.

    Example: seg4eo-xr polygonize --prediction map.zarr --output map.parquet --min_pixels 25
    """

    prediction: str
    """The map; a Zarr store brings its confidence along."""
    output: Path
    """The file to write: GeoParquet (.parquet) or GeoPackage (.gpkg)."""
    overwrite: bool = False
    """Replace a file that exists."""
    options: PolygonOptions = field(default_factory=PolygonOptions)
    """Minimum mapping unit and outlines."""

    def run(self, *, progress: bool) -> Told:
        """Write the polygons and say where they are."""
        from seg4eo_xr.postprocessing.polygons import to_polygons
        from seg4eo_xr.progress import progress_bar

        with progress_bar("outlining", enabled=progress):
            path = to_polygons(self.prediction, self.output, self.options, overwrite=self.overwrite)
        return of_path(path)


@dataclass(frozen=True, kw_only=True)
class Postprocess(Command):
    """Smooth a map and clear it of patches that are too small.

    Example: seg4eo-xr postprocess --prediction map.tif --output calm.tif --majority 3 --sieve 25
    """

    prediction: str
    """The map."""
    output: Path
    """The map to write: a .tif becomes a cloud-optimised GeoTIFF, a .zarr a Zarr store."""
    majority: int = 1
    """Side in pixels of the square whose most frequent class each pixel gets, odd; 1 for none."""
    sieve: int = 1
    """Pixels of the smallest patch that stays, after the majority filter; 1 keeps all."""
    overwrite: bool = False
    """Replace a map that exists."""

    def run(self, *, progress: bool) -> Told:
        """Write the map and say where it is."""
        from seg4eo_xr.maps.store import open_map
        from seg4eo_xr.postprocessing.filters import majority_filter, sieve
        from seg4eo_xr.progress import progress_bar

        write = map_writer("--output", self.output)
        if self.majority == self.sieve == 1:
            raise ValueError(
                "nothing is asked for, and the map would stay as it is; give --majority, as 3, or "
                "--sieve, as 25"
            )
        result = open_map(self.prediction)
        if self.majority != 1:
            result = majority_filter(result, self.majority)
        if self.sieve != 1:
            result = sieve(result, self.sieve)
        with progress_bar("post-processing", enabled=progress):
            return of_path(write(result, self.output, overwrite=self.overwrite))
