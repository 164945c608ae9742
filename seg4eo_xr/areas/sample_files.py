"""Samples as GeoPackages: points to fill in, and beside them all that the estimate needs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from seg4eo_xr.areas.sample_table import (
    DESIGN_COLUMNS,
    INTERPRETER_COLUMNS,
    PIXEL_AREA,
    classes_of,
    described,
    first_of,
    require_columns,
    require_distinct,
    strata_of,
)
from seg4eo_xr.areas.strata import Strata
from seg4eo_xr.scenes.classes import ClassTable
from seg4eo_xr.scenes.rasters import require_local_path
from seg4eo_xr.scenes.vectors import read_vector
from seg4eo_xr.staging import commit, staging

if TYPE_CHECKING:
    from os import PathLike

    import geopandas as gpd
    import pandas as pd

_POINTS, _DESIGN, _STRATA, _CLASSES = "sample", "design", "strata", "classes"


def write_sample(
    sample: gpd.GeoDataFrame, path: str | PathLike[str], *, overwrite: bool = False
) -> Path:
    """Write a sample as a GeoPackage for photo-interpretation, whole or not at all.

    The layer ``sample`` is for the interpreter: points with the columns ``reference``,
    ``interpreter`` and ``remarks``, and without anything that tells the class of the map. The layer
    ``design`` holds that, ``strata`` the sizes and ``classes`` what may be filled in, by code or by
    name.

    Parameters
    ----------
    sample
        What `draw_sample` gives.
    path
        The file, ending in ``.gpkg``.
    overwrite
        Whether an existing file may be replaced, and with it what was filled in.

    Returns
    -------
    Path
        Where it is.

    Raises
    ------
    FileExistsError
        If the file exists and `overwrite` is False.
    FileNotFoundError, OSError
        If it cannot be written.
    ValueError
        If it does not end in ``.gpkg``, or the sample lacks its columns or strata.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from seg4eo_xr.areas.sampling import draw_sample
    >>> from seg4eo_xr.testing import synthetic_sentinel2
    >>> _, labels = synthetic_sentinel2((64, 64), classes=2)
    >>> with TemporaryDirectory() as folder:
    ...     write_sample(draw_sample(labels, size=60, minimum=5), f"{folder}/s.gpkg").name
    's.gpkg'
    """
    path = require_geopackage(path)
    require_columns(sample, (*DESIGN_COLUMNS, *INTERPRETER_COLUMNS), "the sample")
    layers = {_DESIGN: sample[_design_columns(sample)], **_descriptions(sample)}
    points = sample[["id", *INTERPRETER_COLUMNS, sample.geometry.name]]
    with staging(path, overwrite=overwrite) as folder:
        unfinished = folder / path.name
        _write_layers(unfinished, points, layers)
        commit(unfinished, path)
    return path


def _design_columns(table: pd.DataFrame) -> list[str]:
    """Columns of the layer ``design``; that of areas is there only where points need it."""
    return [*DESIGN_COLUMNS, *([PIXEL_AREA] if PIXEL_AREA in table else [])]


def require_geopackage(path: str | PathLike[str]) -> Path:
    """Raise ValueError where a file is to be of another format."""
    if Path(path).suffix.lower() != ".gpkg":
        raise ValueError(f"a sample is written as a GeoPackage: {path} must end in .gpkg")
    return Path(path)


def _descriptions(sample: gpd.GeoDataFrame) -> dict[str, pd.DataFrame]:
    import pandas as pd

    strata, classes = strata_of(sample), classes_of(sample)
    sizes: dict[str, Any] = {"code": strata.codes, "name": strata.names, "pixels": strata.pixels}
    if strata.areas is not None:
        sizes["area_m2"] = strata.areas
    if classes is None:
        raise ValueError("the sample does not say its classes; write what draw_sample gives")
    columns = zip(("code", "name", "color"), classes.to_dict().values(), strict=True)
    return {_STRATA: pd.DataFrame(sizes), _CLASSES: pd.DataFrame(dict(columns))}


def _write_layers(path: Path, points: gpd.GeoDataFrame, tables: dict[str, pd.DataFrame]) -> None:
    import pyogrio

    try:
        pyogrio.write_dataframe(points, path, layer=_POINTS)
        for name, table in tables.items():
            pyogrio.write_dataframe(table, path, layer=name, append=True)
    except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError) as error:
        raise OSError(f"cannot write {path.name}: {error}; is the disk full?") from error


def read_sample(
    path: str | PathLike[str], *, filled: str | PathLike[str] | None = None
) -> gpd.GeoDataFrame:
    """Read a sample that `write_sample` wrote, with what people have filled in since.

    Parameters
    ----------
    path
        The GeoPackage.
    filled
        Another table with the columns ``id`` and ``reference``, such as an export of the points as
        CSV, or the filled file of a smaller sample of this map: it gives the reference classes.

    Returns
    -------
    GeoDataFrame
        As `draw_sample` gives it; the reference classes are texts, as they were written.

    Raises
    ------
    FileNotFoundError, OSError
        If a file is missing or unreadable.
    ValueError
        If a layer or column is missing, or points are missing, doubled or strange.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from seg4eo_xr.areas.sampling import draw_sample
    >>> from seg4eo_xr.testing import synthetic_sentinel2
    >>> _, labels = synthetic_sentinel2((64, 64), classes=2)
    >>> with TemporaryDirectory() as folder:
    ...     drawn = draw_sample(labels, size=60, minimum=5)
    ...     len(read_sample(write_sample(drawn, f"{folder}/s.gpkg")))
    60
    """
    require_local_path(str(path), "sample")
    points = _layer(path, _POINTS)
    design, sizes = _layer(path, _DESIGN), _layer(path, _STRATA)
    require_columns(points, ("id", *INTERPRETER_COLUMNS), f"the layer {_POINTS!r} of {path}")
    require_columns(design, DESIGN_COLUMNS, f"the layer {_DESIGN!r} of {path}")
    _require_ids(points["id"], design["id"], path)
    # the design leads: a point that somebody has deleted has been drawn all the same
    order = [*INTERPRETER_COLUMNS, points.geometry.name]
    sample = points.set_index("id")[order].reindex(design["id"]).reset_index(drop=True)
    for place, name in enumerate(_design_columns(design)):
        sample.insert(place, name, design[name])
    described(sample, _strata(sizes), _classes(path))
    return sample if filled is None else _with_references(sample, filled)


def _layers(path: str | PathLike[str]) -> list[str]:
    import pyogrio

    try:
        return [str(layer) for layer, _ in pyogrio.list_layers(path)]
    except pyogrio.errors.DataSourceError as error:
        raise OSError(
            f"cannot read {path}: {error}; a sample is a GeoPackage that write_sample wrote"
        ) from error


def _layer(path: str | PathLike[str], name: str) -> Any:
    import pyogrio

    names = _layers(path)
    if name not in names:
        raise ValueError(
            f"{path} has no layer {name!r}, only {', '.join(names)}: it is no sample that "
            "write_sample wrote. Join an export of its points to the original with filled= "
            "(--filled); for points of your own see sample_of_points (--column)"
        )
    return pyogrio.read_dataframe(path, layer=name)


def _require_ids(ids: pd.Series, known: pd.Series, where: object) -> None:
    require_distinct(ids, where)
    strange = sorted(set(ids) - set(known))
    if strange:
        raise ValueError(
            f"{where} holds the points {first_of(strange)}, which are not of this sample; points "
            "that were not drawn at random must not be added"
        )


def _strata(sizes: pd.DataFrame) -> Strata:
    columns = {"codes": "code", "names": "name", "pixels": "pixels", "areas": "area_m2"}
    return Strata.from_dict(
        {key: sizes[name].tolist() if name in sizes else None for key, name in columns.items()}
    )


def _classes(path: str | PathLike[str]) -> ClassTable:
    table = _layer(path, _CLASSES)
    return ClassTable.from_codes(*(table[name].tolist() for name in ("code", "name", "color")))


def _with_references(sample: gpd.GeoDataFrame, filled: str | PathLike[str]) -> gpd.GeoDataFrame:
    import pandas as pd

    require_local_path(str(filled), "filled table")
    table: Any
    if Path(filled).suffix.lower() == ".csv":
        table = pd.read_csv(filled, dtype=str, sep=None, engine="python", encoding="utf-8-sig")
    else:
        sample_file = Path(filled).suffix.lower() == ".gpkg" and _POINTS in _layers(filled)
        table = read_vector(str(filled), layer=_POINTS if sample_file else None)
    require_columns(table, ("id", "reference"), str(filled))
    table = table.loc[table["reference"].notna(), ["id", "reference"]]
    _require_ids(table["id"], sample["id"], filled)
    attrs = sample.attrs
    given = sample["id"].map(table.set_index("id")["reference"])
    sample = sample.assign(reference=given.where(given.notna(), sample["reference"]))
    sample.attrs = attrs
    return sample
