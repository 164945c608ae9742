"""Time series from STAC items, through odc-stac, in the form of all others."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

from rasterio.enums import MaskFlags

from seg4eo_xr.notices import warn
from seg4eo_xr.options import OptionSet, changed, require_choice, suggestion
from seg4eo_xr.scenes.bands import with_band_attrs, with_nodata
from seg4eo_xr.scenes.cubes import cube_of_dataset, stack_times
from seg4eo_xr.scenes.harmonize import harmonize, stored_shift
from seg4eo_xr.scenes.missing import SceneWarning, alpha_band
from seg4eo_xr.scenes.rasters import is_remote, remote_remedy
from seg4eo_xr.scenes.resampling import Grid, Resampling
from seg4eo_xr.scenes.stac_items import (
    ItemSource,
    asset_names,
    is_raster,
    read_items,
    stored_numbers,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pystac
    import xarray as xr

Scaling = tuple[tuple[float, ...], tuple[float, ...]]


@dataclass(frozen=True)
class StacOptions(OptionSet):
    """What of STAC items is opened, and how.

    Parameters
    ----------
    bands
        Names of assets or of their common names, as ``("red", "nir")``; all by default.
    bbox
        West, south, east and north in degrees; the extent of all items by default.
    crs
        CRS of the result; by default that of most items.
    resolution
        Pixel size in units of the CRS; by default that of most bands.
    resampling
        How bands are brought onto the grid.
    groupby
        What belongs to one date: ``solar_day`` mosaics the tiles of an overpass, ``time`` items of
        the same second; ``id`` keeps items apart.
    nodata
        Stored number that marks missing data, where the items do not say.
    chunks
        Side of a dask chunk in pixels.
    harmonize
        Whether Sentinel-2 scenes of processing baseline 04.00 and later are brought to the numbers
        of before (see `seg4eo_xr.scenes.harmonize.harmonize`).
    """

    bands: tuple[str, ...] | None = None
    bbox: tuple[float, float, float, float] | None = None
    crs: str | None = None
    resolution: float | None = None
    resampling: Resampling = "nearest"
    groupby: Literal["solar_day", "time", "id"] = "solar_day"
    nodata: float | None = None
    chunks: int = 1024
    harmonize: bool = True

    def __post_init__(self) -> None:
        require_choice("resampling", self.resampling, get_args(Resampling))
        require_choice("groupby", self.groupby, ("solar_day", "time", "id"))
        if self.chunks < 1:
            raise ValueError(f"chunks must be at least 1 pixel, got {self.chunks}")


def open_stac(
    items: ItemSource,
    options: StacOptions | None = None,
    *,
    like: xr.DataArray | None = None,
    geometry: Any = None,
    patch_url: Callable[[str], str] | None = None,
    **changes: Any,
) -> xr.DataArray:
    """Open STAC items as a time series, lazily.

    Take one scene of it with ``cube.isel(time=0)``, all of them with `scenes_of`, or one image of
    all dates with `composite`; `mask_scene` takes out clouds, with the band of flags opened apart.

    Parameters
    ----------
    items
        STAC items, as ``pystac_client.Client.open(...).search(...).items()`` gives them; mappings;
        or the path or URL of an item, a FeatureCollection, a collection or a catalogue.
    options
        Bands, place, grid and grouping; see `StacOptions`.
    like
        Scene whose grid the result takes.
    geometry
        Shape whose bounding box limits the result: a GeoDataFrame, or GeoJSON in degrees.
    patch_url
        Function that signs the address of a file.
    **changes
        Single fields of `StacOptions`.

    Returns
    -------
    DataArray (time, band, y, x)
        As `seg4eo_xr.scenes.cubes.open_cube` gives it: the stored numbers in their dtype, with
        nodata, and scaling as the items state it.

    Raises
    ------
    ImportError
        If odc-stac is not installed.
    FileNotFoundError, OSError
        If a local STAC document does not exist, or a file whose item does not give dtype and nodata
        cannot be opened. Other files show when they are read.
    ValueError
        If there is no item, a band is missing, or bands or items differ in dtype, nodata or
        scaling.
    """
    load = _loader()
    chosen = changed(options, StacOptions, changes)
    found = read_items(items)
    told = _told(found, chosen.bands, patch_url)
    settings = _settings(told, chosen, like, geometry, patch_url)
    whole = _loaded(load, found, settings)
    bands = [str(name) for name in whole.data_vars]
    kinds: dict[tuple[Scaling, int | None], list[pystac.Item]] = {}
    for item in found:
        kinds.setdefault(_kind(item, bands, told, settings["stac_cfg"]), []).append(item)
    if len(kinds) == 1:
        return _formed(whole, *next(iter(kinds)), chosen)
    fixed = {
        key: value
        for key, value in settings.items()
        if key not in ("crs", "resolution", "bbox", "like", "geopolygon")
    }
    cubes = [
        _formed(_loaded(load, part, fixed | {"geobox": whole.odc.geobox}), *kind, chosen)
        for kind, part in kinds.items()
    ]
    planes = [cube.isel(time=index, drop=True) for cube in cubes for index in range(len(cube))]
    times = [time for cube in cubes for time in cube["time"].values]
    return stack_times(planes, times, [f"the scene of {time}" for time in times])


def _loader() -> Any:
    try:
        from odc.stac import load
    except ImportError as error:
        raise ImportError(
            "open_stac needs odc-stac, which is not installed; it comes with the extra 'stac': "
            "`pip install odc-stac pystac`, or `pip install -e '.[stac]'` in a checkout"
        ) from error
    return load


def _settings(
    told: dict[str, dict[str, Any]],
    options: StacOptions,
    like: xr.DataArray | None,
    geometry: Any,
    patch_url: Callable[[str], str] | None,
) -> dict[str, Any]:
    """What odc-stac wants to hear; what is None it shall not hear of."""
    wanted = {
        "bands": None if options.bands is None else list(options.bands),
        "bbox": options.bbox,
        "crs": options.crs,
        "resolution": options.resolution,
        "geopolygon": geometry,
        "patch_url": patch_url,
        "geobox": None if like is None else _geobox(like),
    }
    described = {
        name: {key: one[key] for key in ("data_type", "nodata") if one.get(key) is not None}
        for name, one in told.items()
    }
    return {
        **{key: value for key, value in wanted.items() if value is not None},
        "groupby": options.groupby,
        "resampling": options.resampling,
        "chunks": {"y": options.chunks, "x": options.chunks},
        # for items of all collections, and of none
        "stac_cfg": {"assets": described, "warnings": "ignore"},
    }


def _geobox(like: xr.DataArray) -> Any:
    from odc.geo.geobox import GeoBox

    grid = Grid.of(like)
    return GeoBox((grid.height, grid.width), grid.transform, grid.crs)


def _told(
    items: Sequence[pystac.Item],
    bands: Sequence[str] | None,
    patch_url: Callable[[str], str] | None,
) -> dict[str, dict[str, Any]]:
    """What assets say of their stored numbers; what they leave out, from one file's header each."""
    told: dict[str, dict[str, Any]] = {}
    for item in items:
        for name, asset in item.assets.items():
            written = asset.to_dict()
            wanted = bands is None or not asset_names(name, written).isdisjoint(bands)
            if not wanted or not is_raster(written):
                continue
            href = asset.get_absolute_href() or asset.href
            what = f"asset {name!r} of STAC item {item.id!r}"
            stated = stored_numbers(written)
            if name in told:  # files of one asset are read in one dtype
                _require_same_dtype(told[name]["data_type"], stated, href, what)
                continue
            told[name] = stated
            if not {"data_type", "nodata"} <= told[name].keys():
                in_file = _in_file(patch_url(href) if patch_url else href, what)
                if {"scale", "offset"} & told[name].keys():  # one scaling, from one place
                    in_file = {key: in_file[key] for key in ("data_type", "nodata")}
                told[name] = in_file | told[name]
            elif not is_remote(href):  # a look at a remote file would cost a request
                _look_for_mask(href, what)
    return told


def _require_same_dtype(first: str, stated: dict[str, Any], href: str, what: str) -> None:
    """Refuse an asset of another dtype than in the first item; only local files are looked at."""
    import rasterio

    found = stated.get("data_type")
    if found is None and not is_remote(href):
        with suppress(rasterio.errors.RasterioIOError), rasterio.open(href) as file:
            found = file.dtypes[0]
    if found is not None and found != first:
        raise ValueError(
            f"{what} is {found}, but of an item before it is {first}; open the items of each dtype "
            "apart, and bring them to one with scene.astype(...)"
        )


def _look_for_mask(href: str, what: str) -> None:
    """Warn of a mask of a local file; one that cannot be opened is an error where it is read."""
    import rasterio

    with suppress(rasterio.errors.RasterioIOError), rasterio.open(href) as file:
        _warn_of_mask(file, what)


def _warn_of_mask(file: Any, what: str) -> None:
    if MaskFlags.per_dataset in file.mask_flag_enums[0] and alpha_band(file) is None:
        warn(
            f"{what} has a mask of missing pixels, which is not read: they count as data; open the "
            "files with open_scene, or hide their pixels with mask_scene",
            SceneWarning,
            stacklevel=4,
        )


def _in_file(href: str, what: str) -> dict[str, Any]:
    """What the header of a file says of the stored numbers of its first band."""
    import rasterio

    try:
        with rasterio.open(href) as file:
            _warn_of_mask(file, what)
            return {
                "data_type": file.dtypes[0],
                "nodata": file.nodata,
                "scale": file.scales[0],
                "offset": file.offsets[0],
            }
    except rasterio.errors.RasterioIOError as error:
        raise OSError(
            f"cannot open {what}: {error}" + (f"; {remote_remedy(href)}" if is_remote(href) else "")
        ) from error


def _loaded(load: Any, items: Sequence[pystac.Item], settings: dict[str, Any]) -> xr.Dataset:
    try:
        loaded: xr.Dataset = load(items, **settings)
    except (ValueError, KeyError) as error:
        raise ValueError(_why_not(items, settings, error)) from error
    if not loaded.data_vars:
        raise ValueError("the STAC items have no raster assets")
    return loaded


def _why_not(items: Sequence[pystac.Item], settings: dict[str, Any], error: Exception) -> str:
    """Message for items that odc-stac does not open."""
    assets = sorted({name for item in items for name in item.assets})
    known = set().union(
        *(asset_names(name, one.to_dict()) for item in items for name, one in item.assets.items())
    )
    # a number behind a dot is a band within an asset
    unknown = [
        band
        for band in settings.get("bands", ())
        if known.isdisjoint((band, band.rpartition(".")[0]))
    ]
    if unknown:
        hint = suggestion(unknown[0], sorted(known))
        return f"the STAC items have no bands {unknown}; their assets are {assets}{hint}"
    remedy = ""
    if "geobox" not in settings and not {"crs", "resolution"} <= settings.keys():
        remedy = "; items without projection metadata need crs= and resolution=, or like="
    return (
        f"{len(items)} STAC items cannot be opened as one time series: {error}; their assets are "
        f"{assets}{remedy}"
    )


def _kind(
    item: pystac.Item, bands: Sequence[str], told: dict[str, dict[str, Any]], cfg: Any
) -> tuple[Scaling, int | None]:
    """Scaling of an item's bands, and by how much its numbers are raised; None if not known."""
    from odc.stac import parse_item

    collection = parse_item(item, cfg).collection
    found = []
    for band in bands:
        try:
            asset, number = collection.band_key(band)
        except ValueError as error:
            raise ValueError(
                f"STAC item {item.id!r} has no band {band!r}; its assets are {sorted(item.assets)}"
            ) from error
        stated = stored_numbers(item.assets[asset].to_dict(), number)
        scaled = stated if {"scale", "offset"} & stated.keys() else told.get(asset, {})
        found.append(scaled)
    scales = tuple(float(numbers.get("scale", 1)) for numbers in found)
    offsets = tuple(float(numbers.get("offset", 0)) for numbers in found)
    if not _is_sentinel2(item):
        return (scales, offsets), None
    shift = stored_shift({"s2:product_uri": item.id, **item.properties})
    if shift == 0:  # some catalogues state the offset of numbers that they have lowered already
        offsets = (0.0,) * len(offsets)
    return (scales, offsets), shift


def _is_sentinel2(item: pystac.Item) -> bool:
    texts = (item.properties.get(key, "") for key in ("platform", "constellation"))
    named = any(str(text).lower().replace("_", "-").startswith("sentinel-2") for text in texts)
    return named or any(key.startswith("s2:") for key in item.properties)


def _formed(
    dataset: xr.Dataset, scaling: Scaling, shift: int | None, options: StacOptions
) -> xr.DataArray:
    """One time series of items that store numbers in one way."""
    cube = with_band_attrs(cube_of_dataset(dataset, "the STAC items"), *scaling)
    if options.nodata is not None:
        cube = with_nodata(cube, options.nodata)
    if options.harmonize and shift is not None:
        cube = harmonize(cube, shift=None if any(scaling[1]) else shift)
    return cube.chunk({"time": 1, "band": -1})
