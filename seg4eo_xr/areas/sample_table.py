"""The table of a sample: a row for each pixel, the strata and the classes in its attributes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from seg4eo_xr.areas.strata import Strata
from seg4eo_xr.geometry.hashing import split_numbers
from seg4eo_xr.scenes.classes import ClassTable
from seg4eo_xr.scenes.grid import grid_transform

if TYPE_CHECKING:
    from collections.abc import Sequence

    import geopandas as gpd
    import pandas as pd
    import xarray as xr
    from numpy.typing import NDArray

DESIGN_COLUMNS = ("id", "stratum", "map", "row", "col")
"""What the draw says of each pixel: its name, the code of its stratum and of the map, its place."""

INTERPRETER_COLUMNS = ("reference", "interpreter", "remarks")
"""What people fill in: the class they see, who they are, and whatever else there is to say."""

PIXEL_AREA = "pixel_area"
"""Ground area of the pixel of each point in m², where points do not stand for equal areas."""

UNFILLED = -(2**31)
"""Stands for no reference class."""

_NAMED = 5
# Files and tables make real numbers of whole ones where a cell of their column is empty.
_WHOLE = re.compile(r"^(-?\d+)\.0+$")


def sample_table(
    mapped: xr.DataArray,
    strata: Strata,
    classes: ClassTable,
    numbers: NDArray[np.uint64],
    codes: tuple[NDArray[np.int64], NDArray[np.int64]],
) -> gpd.GeoDataFrame:
    """Arrange pixels of a map as points that wait for a reference class.

    Parameters
    ----------
    mapped
        The map; only its grid matters.
    strata, classes
        Become attributes.
    numbers
        Places of the pixels, as `pixel_numbers` makes them.
    codes
        Stratum and class of each pixel.
    """
    import geopandas as gpd
    import pandas as pd

    rows, cols = split_numbers(numbers)
    transform = grid_transform(mapped, "the map")
    centres = gpd.points_from_xy(
        transform.c + transform.a * (cols + 0.5), transform.f + transform.e * (rows + 0.5)
    )
    ids = [f"{row}_{col}" for row, col in zip(rows, cols, strict=True)]
    columns: dict[str, Any] = dict(zip(DESIGN_COLUMNS, (ids, *codes, rows, cols), strict=True))
    for name in INTERPRETER_COLUMNS:
        columns[name] = pd.array([None] * len(ids), dtype="string")
    table = gpd.GeoDataFrame(columns, geometry=centres, crs=mapped.rio.crs.to_wkt())
    return described(table, strata, classes)


def described(table: Any, strata: Strata, classes: ClassTable) -> Any:
    """Put strata and classes into a table's attributes."""
    table.attrs = {"strata": strata.to_dict(), "classes": classes.to_dict()}
    return table


def strata_of(sample: pd.DataFrame) -> Strata:
    """Strata of a sample, from its attributes.

    Raises
    ------
    ValueError
        If there are none.
    """
    if "strata" not in sample.attrs:
        raise ValueError(
            "the sample does not say how large its strata are; give strata={code: pixels}, or read "
            "it with read_sample from the GeoPackage that write_sample wrote"
        )
    return Strata.from_dict(sample.attrs["strata"])


def classes_of(sample: pd.DataFrame) -> ClassTable | None:
    """Classes of a sample, from its attributes, if they are there."""
    return ClassTable.from_dict(sample.attrs["classes"]) if "classes" in sample.attrs else None


def require_columns(table: pd.DataFrame, needed: Sequence[str], what: str) -> None:
    """Raise ValueError where a table lacks columns."""
    missing = [name for name in needed if name not in table.columns]
    if missing:
        raise ValueError(
            f"{what} lacks the columns {', '.join(missing)}; its columns are "
            f"{', '.join(map(str, table.columns))}"
        )


def require_distinct(ids: pd.Series, what: object) -> None:
    """Raise ValueError where a point stands twice: errors would come out too small."""
    doubled = ids[ids.duplicated()].unique().tolist()
    if doubled:
        raise ValueError(f"{what} holds the points {first_of(doubled)} more than once; keep one")


def first_of(names: Sequence[Any]) -> str:
    """Name the first few of many.

    Examples
    --------
    >>> first_of(list("abcdefgh"))
    'a, b, c, d, e and 3 others'
    """
    named = ", ".join(map(str, names[:_NAMED]))
    return named if len(names) <= _NAMED else f"{named} and {len(names) - _NAMED} others"


def reference_codes(sample: pd.DataFrame, classes: ClassTable | None) -> NDArray[np.int64]:
    """Read what people filled in: class names, or codes as numbers or texts.

    Parameters
    ----------
    sample
        With the columns ``id`` and ``reference``.
    classes
        The classes there are; without them only codes can be read.

    Returns
    -------
    ndarray of int64, ``(point,)``
        Codes; -2**31 where nothing is filled in.

    Raises
    ------
    ValueError
        If something is neither the name nor the code of a class.
    """
    known = {} if classes is None else {str(code): code for code in classes.codes}
    if classes is not None:
        known |= {name.casefold(): code for name, code in classes.code_of.items()}
    codes, strange = np.full(len(sample), UNFILLED, np.int64), []
    for place, word in enumerate(words_of(sample["reference"])):
        if not word:
            continue
        code = known.get(word.casefold())
        if code is None and classes is None and word.lstrip("-").isdigit():
            code = int(word)
        if code is None:
            strange.append(f"{word!r} (point {sample['id'].iloc[place]})")
        else:
            codes[place] = code
    if strange:
        accepted = (
            "codes"
            if classes is None
            else ", ".join(f"{code} {name}" for name, code in classes.code_of.items())
        )
        raise ValueError(
            f"the column 'reference' holds {first_of(strange)}, but the classes are: {accepted}; "
            "correct the table, or give classes= (--classes) a table that has them"
        )
    return codes


def words_of(column: pd.Series) -> list[str]:
    """Cells of a column as texts, empty where they are missing; whole numbers lose their point.

    Examples
    --------
    >>> import pandas as pd
    >>> words_of(pd.Series([2.0, None])), words_of(pd.Series([" forest", "1.0", pd.NA]))
    (['2', ''], ['forest', '1', ''])
    """
    return [
        "" if missing else _WHOLE.sub(r"\1", str(entry).strip())
        for entry, missing in zip(column.tolist(), column.isna().tolist(), strict=True)
    ]
