"""Which image goes with which labels and grid: pairs of a folder of scenes, by file name."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from seg4eo_xr.html import card_html, table_html
from seg4eo_xr.scenes.vectors import VECTOR_SUFFIXES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import geopandas as gpd
    import xarray as xr

    from seg4eo_xr.scenes.open import SceneSource

_RASTERS = r"\.(?:tiff?|vrt|jp2|img|zarr)"
_VECTORS = r"\.(?:shp|gpkg|geojson|json|fgb|geoparquet|parquet)"
IMAGE_PATTERN = rf"image[_-]?(?P<id>.+){_RASTERS}"
LABEL_PATTERN = rf"label[_-]?(?P<id>.+)(?:{_RASTERS}|{_VECTORS})"
GRID_PATTERN = rf"grid[_-]?(?P<id>.+){_VECTORS}"

# What is listed where no pattern takes it; sidecars such as .dbf or .aux.xml are nobody's concern.
_DATA_SUFFIXES = {".tif", ".tiff", ".vrt", ".jp2", ".img", ".zarr", *VECTOR_SUFFIXES}
_SHOWN = 10  # files in an error message


@dataclass(frozen=True)
class ScenePair:
    """A scene, its labels and perhaps its grid.

    Parameters
    ----------
    name
        What sets the pair apart from all others: folder and key, as ``north/1``.
    image, label, grid
        The files, or what else `open_scene`, `open_labels` and `extract_patches` take; `grid` is
        None where the scene has none of its own.

    Examples
    --------
    The dates of a time series, with labels that hold for all of them:

    >>> dates = {"2023-06-01": "june.tif", "2023-08-01": "august.tif"}
    >>> pairs = [ScenePair(date, scene, "labels.tif") for date, scene in dates.items()]
    """

    name: str
    image: SceneSource
    label: str | Path | xr.DataArray | gpd.GeoDataFrame
    grid: str | Path | gpd.GeoDataFrame | None = None


@dataclass(frozen=True)
class Pairs:
    """The pairs of a folder, and the files that belong to none.

    Parameters
    ----------
    pairs
        In natural order of their names: 2 before 10.
    unmatched
        Rasters and vectors without a partner, or that no pattern takes.
    """

    pairs: tuple[ScenePair, ...]
    unmatched: tuple[Path, ...] = ()

    def __len__(self) -> int:
        return len(self.pairs)

    def __iter__(self) -> Iterator[ScenePair]:
        return iter(self.pairs)

    def __str__(self) -> str:
        lines = [f"{len(self)} pair{'s' * (len(self) != 1)}"]
        for pair in self:
            grid = "" if pair.grid is None else f" + {pair.grid}"
            lines.append(f"  {pair.name}: {pair.image} + {pair.label}{grid}")
        if self.unmatched:
            lines.append(f"without a partner: {len(self.unmatched)}")
            lines += [f"  {path}" for path in self.unmatched]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        rows = [[pair.name, pair.image, pair.label, pair.grid or ""] for pair in self]
        tables = [table_html(("name", "image", "label", "grid"), rows, texts=True)]
        if self.unmatched:
            tables.append(table_html(("without a partner",), [[path] for path in self.unmatched]))
        return card_html("pairs", len(self), *tables)


def find_pairs(
    data_dir: str | Path,
    *,
    image_pattern: str = IMAGE_PATTERN,
    label_pattern: str = LABEL_PATTERN,
    grid_pattern: str = GRID_PATTERN,
    recursive: bool = False,
) -> Pairs:
    r"""Find the scenes of a folder and the labels and grids that go with them.

    A pattern is a regular expression that matches a whole file name, in any case; its group named
    ``id``, else its first group, is the file's key. Files of one key belong together where they
    share a folder, or else where they are the only ones of that key below the nearest common
    folder, as ``images/1.tif`` and ``labels/1.tif`` are.

    Parameters
    ----------
    data_dir
        The folder.
    image_pattern, label_pattern, grid_pattern
        By default names such as ``Image_1.tif``, ``Label_1.tif`` (or a vector file) and
        ``Grid_1.shp``.
    recursive
        Look into subfolders too, except hidden ones.

    Returns
    -------
    Pairs

    Raises
    ------
    FileNotFoundError
        If there is no such folder.
    ValueError
        If a pattern is no regular expression or has no group, if no image has a label, or if two
        files claim one place.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> for name in ("Image_1.tif", "Label_1.tif", "Image_2.tif"):
    ...     (folder / name).touch()
    >>> pairs = find_pairs(folder)
    >>> [pair.name for pair in pairs], [path.name for path in pairs.unmatched]
    (['1'], ['Image_2.tif'])
    """
    root = Path(data_dir)
    if not root.is_dir():
        raise FileNotFoundError(f"data_dir {str(root)!r} is no folder; give the folder of scenes")
    texts = {"image": image_pattern, "label": label_pattern, "grid": grid_pattern}
    patterns = {role: _compiled(text, f"{role}_pattern") for role, text in texts.items()}
    files = sorted(_files(root, recursive=recursive), key=_natural)
    keyed = {role: _by_folder_and_key(files, pattern) for role, pattern in patterns.items()}
    if not keyed["image"]:
        raise ValueError(_nothing_found(root, files, texts, recursive=recursive))
    labels = _partners(keyed["image"], keyed["label"], root)
    grids = _partners(keyed["image"], keyed["grid"], root)
    pairs = [
        ScenePair(_name(folder.relative_to(root), key), image, labels[image], grids.get(image))
        for (folder, key), image in keyed["image"].items()
        if image in labels
    ]
    taken = {path for pair in pairs for path in (pair.image, pair.label, pair.grid)}
    known = {path for found in keyed.values() for path in found.values()}
    data = (path for path in files if path in known or path.suffix.lower() in _DATA_SUFFIXES)
    unmatched = tuple(path for path in data if path not in taken)
    if not pairs:
        raise ValueError(
            f"no image in {root} has labels of its key: {_some(unmatched)} stand alone; labels are "
            f"found by label_pattern {label_pattern!r}"
        )
    return Pairs(tuple(sorted(pairs, key=lambda pair: _natural(pair.name))), unmatched)


def _compiled(text: str, argument: str) -> re.Pattern[str]:
    try:
        pattern = re.compile(text, re.IGNORECASE)
    except re.error as error:
        raise ValueError(f"{argument} {text!r} is no regular expression: {error}") from error
    if not pattern.groups:
        raise ValueError(
            f"{argument} {text!r} has no group: put brackets round what images and labels share, "
            r"as in 'image_(\d+)\.tif'"
        )
    return pattern


def _files(root: Path, *, recursive: bool) -> Iterator[Path]:
    """Files, and folders that are Zarr stores; nothing that lies in a store or is hidden."""
    for folder, subfolders, names in os.walk(root):
        stores = [name for name in subfolders if name.lower().endswith(".zarr")]
        yield from (Path(folder, name) for name in [*names, *stores] if not name.startswith("."))
        subfolders[:] = [
            name
            for name in subfolders
            if recursive and name not in stores and not name.startswith(".")
        ]


def _name(folder: Path, key: str) -> str:
    # Not a path: a key such as "." would vanish in one.
    return "/".join([*folder.parts, key])


def _natural(path: Path | str) -> tuple[list[tuple[int, str]], str]:
    """Sort key by which 2 comes before 10; ties are broken by the path itself."""
    parts = re.split(r"(\d+)", str(path).casefold())
    return [(int(part), "") if i % 2 else (-1, part) for i, part in enumerate(parts)], str(path)


def _by_folder_and_key(files: list[Path], pattern: re.Pattern[str]) -> dict[tuple[Path, str], Path]:
    found: dict[tuple[Path, str], Path] = {}
    spelled: dict[tuple[Path, str], Path] = {}
    for path in files:
        match = pattern.fullmatch(path.name)
        key = (match["id"] if "id" in pattern.groupindex else match[1]) if match else None
        if not key:
            continue
        # Image_A belongs to label_a.
        other = spelled.setdefault((path.parent, key.casefold()), path)
        if other is not path:
            raise ValueError(
                f"{other} and {path.name} in the same folder have the same key {key!r}; move one "
                "away, or give a pattern that takes just one of them"
            )
        found[path.parent, key] = path
    return found


def _partners(
    images: Mapping[tuple[Path, str], Path], others: Mapping[tuple[Path, str], Path], root: Path
) -> dict[Path, Path]:
    """Pair images with others of their key, from the deepest folder that holds both."""
    levels = [_below(files, root) for files in (images, others)]
    partners: dict[Path, Path] = {}
    taken: set[Path] = set()
    for place in sorted(set(levels[0]) & set(levels[1]), key=lambda at: -len(at[0].parts)):
        mine = [path for path in levels[0][place] if path not in partners]
        theirs = [path for path in levels[1][place] if path not in taken]
        if not mine or not theirs:
            continue
        if len(mine) > 1 or len(theirs) > 1:
            raise ValueError(
                f"below {place[0]} it is open which of {_some(mine)} goes with which of "
                f"{_some(theirs)}: all have the key {place[1]!r}; put what belongs together into "
                "one folder"
            )
        partners[mine[0]] = theirs[0]
        taken.add(theirs[0])
    return partners


def _below(
    files: Mapping[tuple[Path, str], Path], root: Path
) -> dict[tuple[Path, str], list[Path]]:
    """Files by key and by each folder that they lie in, up to the root."""
    places: dict[tuple[Path, str], list[Path]] = {}
    for (folder, key), path in files.items():
        depth = len(folder.relative_to(root).parts)
        for ancestor in (folder, *folder.parents)[: depth + 1]:
            places.setdefault((ancestor, key.casefold()), []).append(path)
    return places


def _nothing_found(
    root: Path, files: list[Path], patterns: Mapping[str, str], *, recursive: bool
) -> str:
    told = ", ".join(f"{role}_pattern {text!r}" for role, text in patterns.items())
    seen = _some([path.relative_to(root) for path in files]) if files else "no file"
    hint = "" if recursive else "; recursive=True (--recursive) looks into subfolders"
    return f"no image found in {root}, which holds {seen}; looked for {told}{hint}"


def _some(paths: Iterator[Path] | list[Path] | tuple[Path, ...]) -> str:
    names = [str(path) for path in paths]
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
