"""Class tables in files: CSV, QGIS styles, colour maps, and what rasters say of their codes."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import TYPE_CHECKING

import rasterio

from seg4eo_xr.notices import warn
from seg4eo_xr.scenes.classes import ClassTable, class_name, default_color, told_apart
from seg4eo_xr.scenes.label_options import LabelWarning
from seg4eo_xr.scenes.matching import MADE_UP
from seg4eo_xr.scenes.raster_classes import CODE_COLUMNS, NAME_COLUMNS, parsed_xml, raster_rows
from seg4eo_xr.scenes.rasters import is_remote, require_local_path
from seg4eo_xr.staging import commit, staging

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from os import PathLike
    from xml.etree import ElementTree

    from rasterio.io import DatasetReader

    from seg4eo_xr.scenes.raster_classes import Row

_COLUMNS = {
    "code": CODE_COLUMNS,
    "name": NAME_COLUMNS,
    "color": ("color", "colour", "hex", "rgb"),
    "red": ("red", "r"),
    "green": ("green", "g"),
    "blue": ("blue", "b"),
}
_KINDS = (
    "expected a CSV with the columns code, name and color, a QGIS style (.qml), a colour map of "
    "QGIS or GDAL (.txt, .clr), or a raster with category names or a colour table"
)


def read_classes(path: str | PathLike[str]) -> ClassTable:
    r"""Read a class table from a file.

    Parameters
    ----------
    path
        - ``.csv``: the columns ``code``, ``name`` and ``color`` (or ``value``, ``label``,
          ``colour``; or ``red``, ``green`` and ``blue``), between commas, semicolons or tabs.
          Names and colours may be missing; colours may have names of CSS, as ``green``. A
          semicolon in a name becomes a comma, in the other files as well.
        - ``.qml``: a style of QGIS, of a raster with a palette or of vectors with categories.
          Categories of names get the codes 1..N in the order of the style.
        - ``.txt``, ``.clr``: a colour map of QGIS, GDAL or Esri, a line ``code red green blue``
          each, perhaps with opacity and name.
        - A raster: its attribute table or category names and its colour table. Without names those
          codes are classes that have a colour other than black.

    Returns
    -------
    ClassTable
        Codes in ascending order.

    Raises
    ------
    FileNotFoundError, OSError
        If the file is missing or unreadable.
    ValueError
        If it holds no classes, a code, a name or a column twice, or a line that cannot be
        understood. Names that a raster has for several codes get these behind them.

    Warns
    -----
    LabelWarning
        If no column of a CSV has a known heading for names, but it has columns of other headings.

    Examples
    --------
    >>> from tempfile import mkdtemp
    >>> path = Path(mkdtemp(), "classes.csv")
    >>> _ = path.write_text("value;label\n311;broad-leaved forest\n111;urban fabric\n")
    >>> read_classes(path).names
    ('urban fabric', 'broad-leaved forest')
    """
    require_local_path(str(path), "class table")
    what = f"the class table {str(path)!r}"
    suffix = Path(path).suffix.lower()
    readers = {".csv": _csv_rows, ".tsv": _csv_rows, ".qml": _qml_rows}
    readers |= {".txt": _color_map_rows, ".clr": _color_map_rows}
    if suffix in readers:
        try:
            text = Path(path).read_text(encoding="utf-8-sig")
        except UnicodeDecodeError as error:
            raise ValueError(f"{what} is not a text in UTF-8 ({error}); save it as such") from error
        rows = list(readers[suffix](text, what))
    else:
        try:
            rows = _raster_rows(path, what)
        except OSError as error:
            raise OSError(f"{error}; {_KINDS}") from error
        rows = rows or _tagged_rows(path)
    if not rows:
        raise ValueError(f"{what} holds no class; {_KINDS}")
    return _table(rows, what)


def as_class_table(classes: ClassTable | str | Path | None) -> ClassTable | None:
    """Read the class table where `classes` is a file.

    Raises
    ------
    TypeError
        If it is neither a file nor a table.
    """
    if isinstance(classes, str | Path):
        return read_classes(classes)
    if classes is not None and not isinstance(classes, ClassTable):
        raise TypeError(
            f"classes must be a ClassTable or the path of a file, got {type(classes).__name__}; "
            "make a table with ClassTable.from_codes([1, 2], ['forest', 'water'])"
        )
    return classes


def _tagged_rows(path: str | PathLike[str]) -> list[Row]:
    """Classes in a raster's tags, where our maps have those that no table of GDAL can hold."""
    with rasterio.open(path) as raster:
        stated = ClassTable.from_attrs(dict(stated_classes(Path(path), raster)))
    return [] if stated is None else [*zip(stated.codes, stated.names, stated.colors, strict=True)]


def write_classes(table: ClassTable, path: str | PathLike[str]) -> Path:
    """Write a class table as a CSV with the columns ``code``, ``name`` and ``color``.

    Parameters
    ----------
    table
        The classes.
    path
        Where the file goes; what stands there is replaced.

    Returns
    -------
    Path
        Where the file is; `read_classes` gives the same table.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> table = ClassTable.from_codes([10, 80], ["trees", "water"])
    >>> with TemporaryDirectory() as folder:
    ...     read_classes(write_classes(table, f"{folder}/classes.csv")) == table
    True
    """
    path = Path(path)
    with staging(path, overwrite=True) as folder:
        unfinished = folder / "classes.csv"
        with unfinished.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(("code", "name", "color"))
            writer.writerows(zip(table.codes, table.names, table.colors, strict=True))
        commit(unfinished, path)
    return path


def named_classes(path: str | Path) -> ClassTable | None:
    """Class table of a raster that names its codes; None where it does not, or not fully.

    A colour table alone does not say which codes are classes, so it makes none.
    """
    if is_remote(path):
        return None  # a second look at a remote file is slow
    what = f"the raster {str(path)!r}"
    rows = [row for row in _raster_rows(path, what) if row[1]]
    try:
        return _table(rows, what) if rows else None
    except ValueError:
        return None


def _raster_rows(path: str | PathLike[str], what: str) -> list[Row]:
    """Classes of a raster, whose names of codes that do not occur may well be alike."""
    rows = raster_rows(path, what)
    named = [row for row in rows if row[1]]
    names = told_apart([code for code, _, _ in named], [name or "" for _, name, _ in named])
    better = {code: name for (code, _, _), name in zip(named, names, strict=True)}
    return [(code, better.get(code, name), color) for code, name, color in rows]


def stated_classes(path: Path, raster: DatasetReader) -> tuple[tuple[str, str], ...]:
    """Attributes for the class table of an open GeoTIFF's category names or tags, if it has any."""
    table = None
    # GDAL keeps names of categories next to a GeoTIFF, and a look into every file takes long
    if any(Path(f"{path}{suffix}").is_file() for suffix in (".aux.xml", ".vat.dbf")):
        table = named_classes(path)
    tags = {**raster.tags(), **raster.tags(1)}
    try:
        found = table or ClassTable.from_attrs(tags)
    except ValueError:
        return ()  # somebody else's tags
    if found is None:
        return ()
    made = {} if table is not None else {name: tags[name] for name in MADE_UP & set(tags)}
    return tuple(sorted((name, str(value)) for name, value in {**found.to_attrs(), **made}.items()))


def _table(rows: Sequence[Row], what: str) -> ClassTable:
    ordered = sorted(rows, key=lambda row: row[0])
    codes = [code for code, _, _ in ordered]
    twice = sorted({code for code in codes if codes.count(code) > 1})
    if twice:
        raise ValueError(f"{what} holds the codes {twice} more than once; a code is one class")
    try:
        return ClassTable.from_codes(
            codes,
            [class_name(name or "") or f"class {code}" for code, name, _ in ordered],
            [color or default_color(index) for index, (_, _, color) in enumerate(ordered)],
        )
    except ValueError as error:
        raise ValueError(f"{what} makes no class table: {error}") from error


def _csv_rows(text: str, what: str) -> Iterator[Row]:
    lines = text.splitlines()
    if lines and re.fullmatch("sep=.", lines[0].strip()):  # a line that Excel adds
        lines = lines[1:]
    delimiter = max(",;\t", key="".join(lines[:1]).count)
    reader = csv.DictReader(lines, delimiter=delimiter)
    written = [field for field in reader.fieldnames or () if field]
    headings = ["_".join(field.lower().split()) for field in written]
    fields = dict(zip(headings, written, strict=True))
    used = {name for names in _COLUMNS.values() for name in names}
    twice = sorted({name for name in used if headings.count(name) > 1})
    if twice:
        raise ValueError(
            f"{what} has the columns {twice} more than once; rename or drop all but one of each"
        )
    column = {
        key: next((fields[name] for name in names if name in fields), None)
        for key, names in _COLUMNS.items()
    }
    if column["code"] is None:
        raise ValueError(
            f"{what} has the columns {list(fields)}, but needs one of {list(_COLUMNS['code'])} for "
            "the codes"
        )
    if column["name"] is None and not used.issuperset(fields):
        warn(
            f"{what} has no column of names among {list(_COLUMNS['name'])}, so its classes have "
            f"the names of their codes; if {sorted(set(fields) - used)} holds the names, call it "
            "'name'",
            LabelWarning,
            stacklevel=4,
        )
    for row in reader:
        cells = {key: (row.get(name) or "").strip() for key, name in column.items() if name}
        if not any(cells.values()):
            continue
        place = f"{what}, line {reader.line_num}"
        if any(row.get(None) or ()):
            raise ValueError(
                f"{place} has more cells than the heading has columns: {row[None]} are too many; "
                f'put a name that holds {delimiter!r} in quotes, as "trees{delimiter} tall"'
            )
        channels = [cells.get(key, "") for key in ("red", "green", "blue")]
        color = cells.get("color") or (",".join(channels) if all(channels) else "")
        yield (
            _code(cells["code"], place),
            cells.get("name") or None,
            _color(color, place) if color else None,
        )


def _code(text: str, place: str) -> int:
    if not re.fullmatch(r"[+-]?\d+(\.0*)?", text):
        raise ValueError(f"{place}: a class code is a whole number, got {text!r}")
    return int(float(text))


def _color(text: str, place: str) -> str:
    """Colour as ``#rrggbb``, from that, from numbers 0..255, or from a name of CSS."""
    from matplotlib.colors import CSS4_COLORS, to_hex

    lowered = text.strip().lower()
    if lowered in CSS4_COLORS:
        return to_hex(lowered)
    if re.fullmatch(r"#?[0-9a-f]{6}", lowered):
        return f"#{lowered.removeprefix('#')}"
    if re.fullmatch(r"#[0-9a-f]{8}", lowered):
        # QGIS and CSS both write opacity, the one before and the other behind
        raise ValueError(f"{place}: write colours as '#rrggbb', without opacity, got {text!r}")
    numbers = re.findall(r"\d+", lowered)
    if re.match(r"\s*(rgba?\()?\s*\d+\s*[, ]\s*\d+\s*[, ]\s*\d+", lowered):
        channels = [int(number) for number in numbers[:3]]
        if max(channels) <= 255:
            return "#{:02x}{:02x}{:02x}".format(*channels)
    raise ValueError(
        f"{place}: a colour is '#rrggbb', 'red,green,blue' of 0..255 or a name as 'green', got "
        f"{text!r}"
    )


def _qml_rows(text: str, what: str) -> Iterable[Row]:
    root = parsed_xml(text, what)
    entries = root.findall(".//colorPalette/paletteEntry")
    if entries:
        return [
            (
                _code(entry.get("value", ""), what),
                (entry.get("label") or "").strip() or None,
                _color(entry.get("color", ""), what),
            )
            for entry in entries
        ]
    renderer = root.find(".//renderer-v2[@type='categorizedSymbol']")
    if renderer is None:
        raise ValueError(
            f"{what} is a style without classes; in QGIS choose 'Paletted/Unique values' for a "
            "raster or 'Categorized' for vectors, and save the style again"
        )
    return _categories(renderer, what)


def _categories(renderer: ElementTree.Element, what: str) -> list[Row]:
    colors = {
        symbol.get("name"): _symbol_color(symbol, what)
        for symbol in renderer.findall("./symbols/symbol")
    }
    found = [
        (value, (category.get("label") or "").strip(), colors.get(category.get("symbol")))
        for category in renderer.findall("./categories/category")
        # the category of all other values has none
        if (value := (category.get("value") or "").strip()) not in ("", "NULL")
    ]
    if all(re.fullmatch(r"[+-]?\d+", value) for value, _, _ in found):
        return [(int(value), label or None, color) for value, label, color in found]
    # the values are what the column holds, so they are the names
    return [(number, value, color) for number, (value, _, color) in enumerate(found, start=1)]


def _symbol_color(symbol: ElementTree.Element, what: str) -> str | None:
    for path, key in (
        ("./layer//Option[@name='color']", "value"),
        ("./layer/prop[@k='color']", "v"),
    ):
        option = symbol.find(path)
        if option is not None:
            return _color(option.get(key, ""), what)
    return None


def _color_map_rows(text: str, what: str) -> Iterator[Row]:
    for number, line in enumerate(text.splitlines(), start=1):
        line = line.strip()
        if not line or line.startswith("#") or line.upper().startswith(("INTERPOLATION", "NV")):
            continue
        place = f"{what}, line {number}"
        # names may hold blanks and commas, so only the numbers before them are cut apart
        match = re.match(
            r"([+-]?\d+(?:\.0*)?)[\s,:]+(\d+)[\s,:]+(\d+)[\s,:]+(\d+)(?:[\s,:]+(\d+)(?=[\s,:]|$))?"
            r"[\s,:]*(.*)$",
            line,
        )
        if match is None:
            raise ValueError(
                f"{place}: expected 'code red green blue', perhaps with opacity and name, got "
                f"{line!r}"
            )
        code, red, green, blue, _, name = match.groups()
        yield _code(code, place), name.strip() or None, _color(f"{red},{green},{blue}", place)
