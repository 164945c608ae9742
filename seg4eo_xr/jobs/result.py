"""What a job leaves: its map, and the statistics that were counted on the way."""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import dataclass
from glob import escape
from typing import TYPE_CHECKING, Any

from dask.utils import format_time

from seg4eo_xr.html import card_html, lines_html
from seg4eo_xr.jobs.run_folder import differences, is_finished, require_free, sources_begun
from seg4eo_xr.maps.layers import JOB_ATTR, STATISTICS_ATTR
from seg4eo_xr.maps.mosaic import decode_tag
from seg4eo_xr.maps.statistics import MapStatistics
from seg4eo_xr.scenes.touched import known

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    import xarray as xr
    from upath import UPath

    from seg4eo_xr.jobs.run_folder import RunFolder

# The files of the scene, next to the settings that make a job what it is.
_SOURCES = "sources"


class JobFailedError(RuntimeError):
    """Tiles of a job failed, or dates of a series; the others are kept.

    Parameters
    ----------
    message
        What to tell.
    failures
        Why they failed, by `Tile`, or by date.
    """

    def __init__(self, message: str, failures: Mapping[Any, BaseException]) -> None:
        super().__init__(message)
        self.failures = dict(failures)


@dataclass(frozen=True, repr=False)
class JobResult:
    """A finished job.

    Parameters
    ----------
    path
        The map.
    files
        All that was written: the map, and GeoTIFFs of further layers.
    tiles
        Number of its tiles.
    statistics
        Pixels and areas a class, and confidence.
    seconds
        How long it took once there were workers; of the last run, if it was resumed.
    """

    path: UPath
    files: tuple[UPath, ...]
    tiles: int
    statistics: MapStatistics
    seconds: float

    def __repr__(self) -> str:
        return "\n".join([*self._facts(), repr(self.statistics)])

    def _repr_html_(self) -> str:
        facts = lines_html(self._facts()[1:])
        return card_html("map", self.path, facts) + self.statistics._repr_html_()

    def _facts(self) -> list[str]:
        layers = [f"layer {file}" for file in self.files if file != self.path]
        tiles = f"{self.tiles:,} {'tile' if self.tiles == 1 else 'tiles'}"
        return [f"map {self.path}", *layers, f"{tiles} in {format_time(self.seconds)}"]

    def open(self) -> xr.Dataset:
        """Open the map, lazily; see `seg4eo_xr.open_map`."""
        from seg4eo_xr.maps.store import open_map

        return open_map(self.path)


def about_job(run: RunFolder, statistics: MapStatistics) -> dict[str, str]:
    """Attributes by which a finished map tells what job it is of, and what it holds.

    Parameters
    ----------
    run
        The job.
    statistics
        Figures of the whole map.
    """
    return {
        JOB_ATTR: json.dumps({**run.settings, _SOURCES: run.sources}, sort_keys=True),
        STATISTICS_ATTR: json.dumps(statistics.to_dict()),
    }


def finished_before(
    files: Iterable[UPath], settings: Mapping[str, Any], *, overwrite: bool
) -> tuple[MapStatistics | None, bool]:
    """Hold a job that is to go on against the outputs that stand already.

    Parameters
    ----------
    files
        The outputs of the job, the map itself first.
    settings
        What the job depends on.
    overwrite
        Whether outputs of other jobs may be replaced.

    Returns
    -------
    MapStatistics or None
        Figures of the map, if all outputs are there and of this very job.
    bool
        Whether those that are there may be replaced.

    Raises
    ------
    FileExistsError
        If one is no map of a job.
    ValueError
        If one is of another job; the message names what differs.
    """
    outputs = list(files)
    made = {file: _attributes(file) for file in outputs if is_finished(file)}
    of_this_job = True
    for file, attrs in made.items():
        theirs = json.loads(attrs.get(JOB_ATTR, "{}"))
        theirs.pop(_SOURCES, None)
        if theirs == settings:
            continue
        of_this_job = False
        if not theirs:
            require_free(file, overwrite=overwrite)
        elif not overwrite:
            raise ValueError(
                f"{file} was made by another job: {differences(theirs, settings)}; pass "
                "overwrite=True (--overwrite) to replace it, or choose another name"
            )
    if of_this_job and len(made) == len(outputs):
        figures = json.loads(made[outputs[0]][STATISTICS_ATTR])
        return MapStatistics.from_dict(figures), True
    # A job that is killed between its outputs leaves some of them.
    return None, of_this_job or overwrite


@contextmanager
def known_files(target: UPath, *, resume: bool, series: bool = False) -> Iterator[None]:
    """Let files of the scene that were only touched be those of the job that is to go on.

    Parameters
    ----------
    target
        The map.
    series
        Whether its name is that of a series' maps but for the dates.
    resume
        Whether a job is to go on.
    """
    if not resume:
        yield
        return
    sources: dict[str, Any] = {}
    for place in _dated_places(target) if series else [target]:
        made = _attributes(place) if is_finished(place) else {}
        sources |= json.loads(made.get(JOB_ATTR, "{}")).get(_SOURCES, {})
        sources |= sources_begun(place)
    with known(sources):
        yield


def _dated_places(whole: UPath) -> list[UPath]:
    """Maps of a series that are there, or were begun."""
    pattern = f"{escape(whole.stem)}_*{whole.suffix}"
    begun = [run.with_suffix("") for run in whole.parent.glob(f"{pattern}.run")]
    return [*whole.parent.glob(pattern), *begun]


def _attributes(file: UPath) -> Mapping[str, Any]:
    """Attributes of a map; none of what is no map."""
    import rasterio
    import zarr

    try:
        if file.suffix == ".zarr":
            return zarr.open_group(str(file), mode="r").attrs.asdict()
        # As a stream, since GDAL does not look for S3 where fsspec does.
        with file.open("rb") as stream, rasterio.open(stream) as raster:
            return {key: decode_tag(key, text) for key, text in raster.tags().items()}
    except (ValueError, FileNotFoundError, IsADirectoryError, rasterio.RasterioIOError):
        return {}  # something else, which nobody replaces unasked
