"""Finished maps counted and published as commands."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from seg4eo_xr.cli.answers import of_path
from seg4eo_xr.cli.command import Command, Told
from seg4eo_xr.cli.groups import Folder
from seg4eo_xr.cli.outputs import require_writable


@dataclass(frozen=True, kw_only=True)
class Publish(Command):
    """Cut a finished map into COGs, with VRT and STAC.

    Example: seg4eo-xr publish --map map.zarr --output published --model run/model_best_iou.pth
    """

    map: str
    """The map: a Zarr store or a GeoTIFF."""
    output: Folder
    """The folder to make."""
    tile_size: int = 16384
    """Side of a file in pixels."""
    model: Path | None = None
    """The checkpoint that made the map; it is described by the MLM extension of STAC."""
    date: str | None = None
    """What moment the map shows, as 2021-06-13; now if not given."""
    overwrite: bool = False
    """Replace a published map that exists."""

    def run(self, *, progress: bool) -> Told:
        """Write the folder and say where its collection is."""
        from seg4eo_xr.maps.regions import write_region
        from seg4eo_xr.progress import progress_bar

        with progress_bar("publishing", enabled=progress):
            folder = write_region(
                self.map,
                self.output,
                tile_size=self.tile_size,
                model=self.model,
                date=self.date,
                overwrite=self.overwrite,
            )
        return of_path(folder / "collection.json")


@dataclass(frozen=True, kw_only=True)
class Statistics(Command):
    """Tell how much of each class a map holds.

    In pixels, and in km² and ha on the ground.
    Example: seg4eo-xr statistics --map map.tif --output statistics.json
    """

    map: str
    """The map: a Zarr store or a GeoTIFF."""
    output: Path | None = None
    """Also write the figures as JSON."""

    def run(self, *, progress: bool) -> Told:
        """Print the table of figures."""
        from seg4eo_xr.maps.survey import map_statistics
        from seg4eo_xr.progress import progress_bar

        require_writable(report=self.output)
        with progress_bar("counting", enabled=progress):
            statistics = map_statistics(self.map)
        if self.output is not None:
            statistics.to_json(self.output)
        return Told(str(statistics), statistics.report())
