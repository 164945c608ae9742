"""Labels from rasters and vectors, on the grid of a scene."""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import rioxarray  # noqa: F401  (registers .rio)
import xarray as xr

from seg4eo_xr.options import changed
from seg4eo_xr.scenes.bands import stated_nodata
from seg4eo_xr.scenes.borders import ignore_borders
from seg4eo_xr.scenes.burning import burn
from seg4eo_xr.scenes.class_files import as_class_table, named_classes
from seg4eo_xr.scenes.classes import ClassTable
from seg4eo_xr.scenes.grid import (
    as_band_y_x,
    cut_to,
    grid_transform,
    place,
    require_crs,
    require_degrees,
    require_overlap,
    require_same_grid,
)
from seg4eo_xr.scenes.label_options import LabelOptions
from seg4eo_xr.scenes.label_pictures import codes_of_picture, is_picture
from seg4eo_xr.scenes.matching import (
    NAMED_BY_FILE,
    NUMBERED,
    fitted,
    is_named_by_file,
    is_numbered,
    meant_table,
    names_nothing,
    recoded,
    warn_of_renaming,
)
from seg4eo_xr.scenes.open import is_zarr, open_scene
from seg4eo_xr.scenes.rasters import is_raster, is_remote, read_raster
from seg4eo_xr.scenes.resampling import Grid, resample
from seg4eo_xr.scenes.unlabelled import (
    ChosenCode,
    can_occur,
    choose_code,
    count_codes,
    fits_byte,
    free_code,
    stated_code,
    warn_of_codes,
    warn_of_missing_class,
)
from seg4eo_xr.scenes.vectors import VECTOR_SUFFIXES, read_vector

if TYPE_CHECKING:
    import geopandas as gpd

_LOGGER = logging.getLogger(__name__)
_NOWHERE = -(2**15)  # code of names that a raster does not have


def open_labels(
    source: str | Path | xr.DataArray | gpd.GeoDataFrame,
    *,
    like: xr.DataArray | None = None,
    options: LabelOptions | None = None,
    classes: ClassTable | str | Path | None = None,
    **changes: Any,
) -> xr.DataArray:
    """Open labels, and bring them onto a scene's grid.

    Parameters
    ----------
    source
        A raster of one band, or a picture in the colours of `classes`, a Zarr store of one
        variable, a vector file (GeoPackage, GeoJSON, shapefile, GeoParquet, ...), or the like as an
        array or GeoDataFrame.
    like
        The scene. Rasters must lie on its grid, of which they may cover more, or are warped onto
        it on request; vectors are reprojected to its CRS and burned into its pixels, chunk by
        chunk.
    options
        Column, codes without a label, which of overlapping features lies on top, borders, warping.
    classes
        The classes there are, or a file of them (see `read_classes`): it gives the names of a
        column their codes, and other codes are an error. By default the classes of the file's
        attributes or category names; of vectors those that occur, names in alphabetical order.
    **changes
        Fields of `LabelOptions` to set, as ``column="class"``.

    Returns
    -------
    DataArray (y, x), uint8 or int16
        Named "labels". Pixels without a label have its nodata value (``labels.rio.nodata``): see
        ``ignore`` of `LabelOptions`. The class table, where known, is in the attributes
        (`ClassTable.from_attrs`). Rasters of uint8 stay so unless a class has a wider code, others
        become int16.

    Raises
    ------
    FileNotFoundError, OSError
        If a file is missing or unreadable.
    ValueError
        If grids differ, nothing overlaps, the CRS cannot be right, the column is unknown, a class
        is not in `classes`, or codes are no whole numbers of 16 bits (of rasters the last two show
        when they are computed).

    Warns
    -----
    LabelWarning
        If polygons are invalid; they are repaired. If a raster without a nodata value holds 255 or
        negative codes: they are classes, unless `options` say otherwise.

    Notes
    -----
    Of a raster file without a nodata value the codes are counted when it is opened: of the part on
    the scene, in files of more than 48 million pixels in chunks spread evenly over it. Lazy arrays
    without a nodata value are not read: 255 means "no label" in them, and where patches are
    extracted or a map is evaluated, a warning has the number of such pixels.

    Examples
    --------
    >>> from seg4eo_xr.testing import synthetic_sentinel2
    >>> scene, labels = synthetic_sentinel2((64, 64))
    >>> sparse = open_labels(labels, like=scene, unlabelled=(0, 1), ignore_border=1)
    >>> 1 in sparse.values
    False
    """
    options = changed(options, LabelOptions, changes)
    what = f"labels {str(source)!r}" if isinstance(source, (str, Path)) else "the labels"
    classes = as_class_table(classes)
    as_vector = options.column is not None or options.layer is not None
    opened = _open(source, what, options, as_vector=as_vector)
    if isinstance(opened, xr.DataArray):
        if isinstance(source, (str, Path)) and not is_zarr(source):
            named = named_classes(source)
            opened = opened if named is None else opened.assign_attrs(named.to_attrs())
        labels = _from_raster(opened, like, what, options, classes, source)
    elif like is None:
        raise ValueError(f"{what} are vector data: pass the scene as like= to give them a grid")
    else:
        labels = burn(opened, like, what, options, classes)
    if options.ignore_border:
        labels = ignore_borders(labels, options.ignore_border, int(labels.rio.nodata))
    labels = labels.rename("labels")
    if isinstance(source, (str, Path)):
        _LOGGER.info(
            "opened %s: %s, %s", what, labels.dtype, labels.attrs.get("class_names", "no names")
        )
    return labels


def _open(
    source: str | Path | xr.DataArray | gpd.GeoDataFrame,
    what: str,
    options: LabelOptions,
    *,
    as_vector: bool,
) -> xr.DataArray | gpd.GeoDataFrame:
    if isinstance(source, (str, Path)):
        named_so = Path(source).suffix.lower() in VECTOR_SUFFIXES
        if as_vector and not named_so and (is_zarr(source) or is_raster(source)):
            raise ValueError(
                "column (--column) and layer (--layer) are for vector labels, but "
                f"{str(source)!r} is a raster: leave them away"
            )
        if as_vector or named_so:
            return read_vector(source, layer=options.layer, encoding=options.encoding)
        return open_scene(source) if is_zarr(source) else read_raster(source, what="label raster")
    if isinstance(source, xr.DataArray) or hasattr(source, "geometry"):
        return source
    raise TypeError(
        f"source must be a path, a DataArray or a GeoDataFrame, got {type(source).__name__}"
    )


def _from_raster(
    raster: xr.DataArray,
    like: xr.DataArray | None,
    what: str,
    options: LabelOptions,
    classes: ClassTable | None,
    source: Any,
) -> xr.DataArray:
    one = what.replace("labels", "label raster", 1)
    raster = as_band_y_x(raster, one)
    if is_picture(raster):
        raster = codes_of_picture(raster, stated_nodata(raster), classes, what)
    if raster.sizes["band"] != 1:
        raise ValueError(
            f"{what} have {raster.sizes['band']} bands, but labels are one band of class codes; "
            "are image and labels swapped?"
        )
    require_crs(raster, one)
    require_degrees(raster.rio.bounds(), raster.rio.crs, what)
    if raster.dtype.kind not in "biuf":
        raise ValueError(f"{what} have the dtype {raster.dtype}, but class codes are whole numbers")
    plane = place(raster.isel(band=0).data, raster.rio.crs, grid_transform(raster, one))
    plane, nodata = plane.assign_attrs(raster.attrs), stated_nodata(raster)
    if like is not None:
        plane = cut_to(plane, like)
    options, table, moved, chosen = _settled(plane, nodata, classes, options, what, source)
    assert options.ignore is not None
    stated = [options.ignore, *(() if table is None else table.codes)]
    byte = fits_byte(plane.dtype) and 0 <= min(stated) <= max(stated) <= 255
    rules = _Rules(
        nodata=nodata,
        ignore=options.ignore,
        unlabelled=tuple(sorted(options.no_label - {options.ignore})),
        known=None if classes is None or table is None else table.codes,
        reserved=chosen.reserved and options.ignore not in options.unlabelled,
        moved=moved,
        dtype=np.dtype(np.uint8 if byte else np.int16),
        what=what,
    )
    codes = xr.apply_ufunc(
        _as_codes,
        plane.variable,
        kwargs={"rules": rules},
        dask="parallelized",
        output_dtypes=[rules.dtype],
    )
    labels = plane.copy(data=codes.data)
    labels.attrs = dict(chosen.attrs)
    labels = labels.rio.write_nodata(options.ignore)
    if like is not None:
        labels = _on_grid_of(labels, like, what, options)
    if table is None:
        return labels
    made: dict[str, str] = {}
    if classes is None:
        made |= NUMBERED if is_numbered(raster.attrs) else {}
        made |= NAMED_BY_FILE if is_named_by_file(raster.attrs) else {}
    return labels.assign_attrs(table.to_attrs() | made)


def _settled(
    plane: xr.DataArray,
    nodata: float | None,
    classes: ClassTable | None,
    options: LabelOptions,
    what: str,
    source: Any,
) -> tuple[LabelOptions, ClassTable | None, dict[int, int], ChosenCode]:
    """Options without names and with a code for pixels without a label, and the class table.

    And the codes that change where the raster's own table is matched with the one given.
    """
    options, table, moved = _labelled_classes(plane.attrs, classes, options, what)
    chosen = ChosenCode(options.ignore)
    if options.ignore is None:
        if classes is not None and can_occur(nodata, plane.dtype):
            stated = stated_code(nodata, plane.dtype)
            if stated not in options.no_label:
                warn_of_missing_class(classes, stated, stacklevel=4)
        counts = None
        if not can_occur(nodata, plane.dtype):
            from_file = isinstance(source, (str, Path))
            if from_file or plane.chunks is None:
                counts = count_codes(plane.data, remote=from_file and is_remote(source))
                counts = counts.without(options.no_label)
        known = (*moved, *(() if table is None else table.codes))
        recoded = bool(options.no_label) or plane.dtype.kind == "f"
        chosen = choose_code(plane, nodata, known, counts, recoded=recoded)
        if chosen.code is not None and chosen.code in moved.values():
            chosen = ChosenCode(free_code({*known, chosen.code}))
        if counts is not None and classes is None:
            warn_of_codes(counts, what, known, stacklevel=4)
        options = replace(options, ignore=chosen.code)
    if table is None or (classes is None and options.no_label.issuperset(table.codes)):
        return options, None, {}, chosen
    # codes without a label are the raster's own, which may be those of other classes of the table
    assert options.ignore is not None
    none = {options.ignore} if moved else options.no_label
    return options, table.without(none), moved, chosen


def _on_grid_of(
    labels: xr.DataArray, like: xr.DataArray, what: str, options: LabelOptions
) -> xr.DataArray:
    labels = cut_to(labels, like)
    if options.warp and Grid.of(labels) != Grid.of(like):
        require_degrees(like.rio.bounds(), like.rio.crs, "the scene")
        require_overlap(labels, like, what)
        attrs = labels.attrs
        labels = resample(labels, Grid.of(like), resampling=options.warp_resampling)
        labels = labels.assign_attrs(attrs)
    else:
        one = what.replace("labels", "label raster", 1)
        require_same_grid(labels, like, one, "the scene")
    if like.chunks is not None:
        # a rechunk by shuffling would read all labels for one window
        lazy = labels.chunk().data.rechunk(like.chunks[-2:], method="tasks")
        labels = labels.copy(data=lazy)
    # coordinates that differ in the last bits would make xarray align to nothing
    return labels.assign_coords(y=like["y"], x=like["x"])


@dataclass(frozen=True)
class _Rules:
    """How numbers of a raster become class codes."""

    nodata: float | None
    ignore: int
    unlabelled: tuple[int, ...]
    known: tuple[int, ...] | None
    reserved: bool
    moved: dict[int, int]
    dtype: np.dtype[Any]
    what: str


def _as_codes(values: np.ndarray, rules: _Rules) -> np.ndarray:
    """Class codes, with nodata, NaN and codes without a label as the ignored code."""
    missing = {rules.nodata, *rules.unlabelled} - {None, rules.ignore}
    if values.dtype == rules.dtype and not missing:
        codes = values
    else:
        codes = _without_missing(values, missing, rules)
    if rules.reserved and (values == rules.ignore).any():
        raise ValueError(
            f"{rules.what} hold the code {rules.ignore}, which here is the mark of pixels without "
            f"a label; if these pixels have none, say so with ignore={rules.ignore} (--ignore "
            f"{rules.ignore}); if it is a class, list the classes, {rules.ignore} among them, with "
            "classes= (--classes)"
        )
    if rules.moved:
        codes = recoded(codes, rules.moved, rules.ignore, rules.dtype, rules.what)
    if rules.known is not None:
        _require_known(codes, rules.known, rules)
    return codes


def _without_missing(values: np.ndarray, marks: set[float | None], rules: _Rules) -> np.ndarray:
    """Codes in their dtype, some of them and NaN as the ignored code."""
    missing = np.isnan(values) if values.dtype.kind == "f" else np.zeros(values.shape, bool)
    for code in marks:
        missing |= values == code
    if values.dtype == rules.dtype:
        # several times faster than picking the pixels that are not missing
        return np.where(missing, rules.dtype.type(rules.ignore), values)
    known = values[~missing]
    if known.size:
        _require_whole_and_short(known, rules)
    codes = np.full(values.shape, rules.ignore, rules.dtype)
    codes[~missing] = known
    return codes


def _require_whole_and_short(values: np.ndarray, rules: _Rules) -> None:
    limits = np.iinfo(rules.dtype)
    if values.dtype.kind == "f" and (values % 1 != 0).any():
        raise ValueError(
            f"{rules.what} hold fractions such as {values[values % 1 != 0][0]}, but class codes "
            "are whole numbers; round or classify the raster first"
        )
    if values.min() < limits.min or values.max() > limits.max:
        raise ValueError(
            f"{rules.what} hold codes from {values.min()} to {values.max()}, but labels are stored "
            f"in {rules.dtype} ({limits.min}..{limits.max}); renumber the classes, or set the "
            "raster's nodata value"
        )


def _require_known(codes: np.ndarray, known: tuple[int, ...], rules: _Rules) -> None:
    """Raise where a code is neither in the class table nor the ignored one."""
    # a table of all codes of 16 bits: sorting the pixels would take longer than reading them
    occurs = np.zeros(2**16, bool)
    occurs[codes] = True  # negative codes count from the end
    occurs[[*known, rules.ignore]] = False
    unknown = np.flatnonzero(occurs)
    if unknown.size:
        found = sorted(int(code) - 2**16 * int(code >= 2**15) for code in unknown)
        raise ValueError(
            f"{rules.what} hold the class codes {found}, which are not in the class table "
            f"{list(known)}; add them to the table, or name them in unlabelled= (--unlabelled)"
        )


def _labelled_classes(
    attrs: dict[Any, Any], classes: ClassTable | None, options: LabelOptions, what: str
) -> tuple[LabelOptions, ClassTable | None, dict[int, int]]:
    """Options without names, the class table without their codes, and codes that change.

    The table is the one given, or that of a file's tags, which may be somebody else's and make no
    table.
    """
    own = None
    with suppress(ValueError):
        own = ClassTable.from_attrs(attrs) if classes is None else meant_table(attrs)
    if classes is not None:
        return _in_given_classes(own, classes, options, what, numbered=is_numbered(attrs))
    if own is None:
        return options.with_codes({}, what), None, {}
    return options.with_codes(own.code_of, what), own, {}


def _in_given_classes(
    own: ClassTable | None,
    classes: ClassTable,
    options: LabelOptions,
    what: str,
    *,
    numbered: bool,
) -> tuple[LabelOptions, ClassTable, dict[int, int]]:
    """Match a raster's own class table with the one given, by name."""
    if own is None or names_nothing(own) or not numbered:
        options = options.with_codes(classes.code_of | ({} if own is None else own.code_of), what)
        kept = None if own is None else set(own.codes) - options.no_label
        if own is not None and kept:
            warn_of_renaming(own.without(options.no_label), classes, what)
        return options, classes, {}
    # codes of the raster, of which those of names that only the given table has do not occur
    named = {name.casefold() for name in options.unlabelled if isinstance(name, str)}
    options = options.with_codes(dict.fromkeys(classes.names, _NOWHERE) | own.code_of, what)
    gone = options.no_label
    named |= {name.casefold() for name, code in own.code_of.items() if code in gone}
    dropped = [code for name, code in classes.code_of.items() if name.casefold() in named]
    moved = {}
    if not gone.issuperset(own.codes):
        moved = _matched(own.without(gone), classes, what)
    return options, classes.without(dropped), moved


def _matched(own: ClassTable, classes: ClassTable, what: str) -> dict[int, int]:
    """Code among given classes of each code of a raster whose names were numbered."""
    table, moved = fitted(classes, own, "the given class table", what, numbered=True)
    new = sorted(set(table.names) - set(classes.names))
    if new:
        raise ValueError(
            f"{what} hold the classes {new}, which are not in the class table "
            f"{list(classes.names)}; add them to the table, rename them, or name them in "
            "unlabelled= (--unlabelled)"
        )
    return moved
