"""Which image goes with which labels and grid: pairs of a folder of scenes, by file name."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from seg4eo_xr.html import card_html, table_html
from seg4eo_xr.scenes.vectors import VECTOR_SUFFIXES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import geopandas as gpd
    import xarray as xr

    from seg4eo_xr.scenes.open import SceneSource

_RASTERS = r"\.(?:tiff?|vrt|jp2|img|zarr)"
_VECTORS = r"\.(?:shp|gpkg|geojson|json|fgb|geoparquet|parquet)"
# What names of files and folders call images and labels, in the singular.
IMAGE_WORDS = "image|img"
LABEL_WORDS = "label|mask|annotation|gt|ground[_-]?truth"


def _usual_names(words: str, ending: str) -> str:
    """Pattern of ``image_1``, ``1_image``, ``images/1`` and ``images/north/1``."""
    before = rf"(?:(?:{IMAGE_WORDS}|{LABEL_WORDS})s?[_-]|(?:{IMAGE_WORDS}|{LABEL_WORDS}))?"
    after = rf"(?:[_-](?:{IMAGE_WORDS}|{LABEL_WORDS})s?)?"
    # Of image_1 and image_1_mask the key is 1.
    other = "" if words == IMAGE_WORDS else rf"(?:(?:{IMAGE_WORDS})s?[_-])?"
    return (
        rf"(?:(?:(?:{words})s?[_-]|(?:{words}))([^/]+)|{other}([^/]+?)[_-](?:{words})s?"
        rf"|(?:{words})s?/{before}([^/]+?){after}|(?:{words})s?/((?:[^/]+/)+[^/]+)){ending}"
    )


_USUAL = {
    "image": _usual_names(IMAGE_WORDS, _RASTERS),
    "label": _usual_names(LABEL_WORDS, rf"(?:{_RASTERS}|{_VECTORS})"),
    "grid": _usual_names("grid", _VECTORS),
}
# Looked for where nothing else has a role. A JPEG's numbers are not exact, so it holds no labels.
_USUAL_PICTURES = {
    "image": _usual_names(IMAGE_WORDS, r"\.(?:png|jpe?g)"),
    "label": _usual_names(LABEL_WORDS, r"\.png"),
}
_USUAL_TOLD = {
    "image": "Image_1.tif, 1_image.tif or images/1.tif",
    "label": "Label_1.tif, 1_mask.tif, 1_gt.tif, labels/1.tif, masks/1.tif or annotations/1.tif",
    "grid": "Grid_1.shp",
}

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

    def __post_init__(self) -> None:
        require_two_files(self.image, self.label)


def require_two_files(image: object, label: object) -> None:
    """Raise ValueError where the labels of a scene are the scene's own file."""
    files = image if isinstance(image, list | tuple) else (image,)
    if not isinstance(label, str | Path):
        return
    for file in files:
        if isinstance(file, str | Path) and os.path.abspath(file) == os.path.abspath(label):
            raise ValueError(
                f"{file} is given as the scene (--image) and as its labels (--label); give two "
                "files"
            )


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
    image_pattern: str | None = None,
    label_pattern: str | None = None,
    grid_pattern: str | None = None,
    recursive: bool = False,
) -> Pairs:
    r"""Find the scenes of a folder and the labels and grids that go with them.

    A pattern is a regular expression, in any case. One without a slash has to match a whole file
    name. One with a slash has to match whole folders and the file name at the end of the path, as
    ``masks/(.+)\.tif`` matches ``north/masks/1.tif``. The group named ``id``, or else the first
    group that takes part, is the file's key.

    Files with the same key belong together where they share a folder, or else where they are the
    only ones with that key below the nearest common folder, as ``images/1.tif`` and
    ``masks/1.tif``. Where a file matches both patterns with the same key, the words in its name
    and its folders decide whether it is an image or a label; where they do not, it is an error.

    Parameters
    ----------
    data_dir
        The folder.
    image_pattern
        By default ``Image_1.tif``, ``1_image.tif``, ``images/1.tif``, and the same with ``img``;
        PNG and JPEG files where there is no other image.
    label_pattern
        By default ``Label_1.tif``, ``1_label.tif``, ``labels/1.tif`` (or vector files), and the
        same with ``mask``, ``annotation``, ``gt`` and ``ground_truth``; PNG files where there are
        no other labels.
    grid_pattern
        By default ``Grid_1.shp``, ``1_grid.shp`` and ``grids/1.shp``.
    recursive
        Look into subfolders too, except hidden ones; links to folders are followed. Without it,
        subfolders such as ``images`` and ``masks`` are searched only where `data_dir` itself has no
        image.

    Returns
    -------
    Pairs

    Raises
    ------
    FileNotFoundError
        If there is no such folder.
    ValueError
        If a pattern is no regular expression or has no group, if no image has a label, if two
        files claim one place, or if a file can be both an image and a label.

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
    given = {"image": image_pattern, "label": label_pattern, "grid": grid_pattern}
    patterns = {role: _patterns(role, text) for role, text in given.items()}
    files, keyed = _keyed(root, patterns, _anywhere if recursive else _nowhere)
    if not keyed["image"] and not recursive:
        files, keyed = _keyed(root, patterns, _is_usual_folder)
    if not keyed["image"]:
        raise ValueError(_nothing_found(root, files, given, recursive=recursive))
    labels = _partners(keyed["image"], keyed["label"], root)
    grids = _partners(keyed["image"], keyed["grid"], root)
    pairs = [
        ScenePair(_name(folder.relative_to(root), key), image, labels[image], grids.get(image))
        for (folder, key), image in keyed["image"].items()
        if image in labels
    ]
    taken = {path for pair in pairs for path in (pair.image, pair.label, pair.grid)}
    _require_one_role(pairs)
    known = {path for found in keyed.values() for path in found.values()}
    data = (path for path in files if path in known or path.suffix.lower() in _DATA_SUFFIXES)
    unmatched = tuple(path for path in data if path not in taken)
    if not pairs:
        raise ValueError(
            f"no image in {root} has labels of its key: {_some(unmatched)} stand alone; labels are "
            f"found by {_looked_for('label', label_pattern)}"
        )
    return Pairs(tuple(sorted(pairs, key=lambda pair: _natural(pair.name))), unmatched)


def _patterns(role: str, given: str | None) -> tuple[re.Pattern[str], ...]:
    """Patterns of a role, of which the first that takes a file holds."""
    usual = (_USUAL[role], *filter(None, [_USUAL_PICTURES.get(role)]))
    return tuple(
        _compiled(text, f"{role}_pattern") for text in (usual if given is None else (given,))
    )


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


def _keyed(
    root: Path, patterns: Mapping[str, tuple[re.Pattern[str], ...]], enter: Callable[[str], object]
) -> tuple[list[Path], dict[str, dict[tuple[Path, str], Path]]]:
    """Files below a folder, and those of each role by their folder and key."""
    files = sorted(_files(root, enter), key=_natural)
    claims = {
        role: next(filter(None, (_claims(files, root, pattern) for pattern in tried)), {})
        for role, tried in patterns.items()
    }
    _decide(claims["image"], claims["label"], root)
    return files, {role: _by_folder_and_key(claimed) for role, claimed in claims.items()}


def _anywhere(_: str) -> bool:
    return True


def _nowhere(_: str) -> bool:
    return False


def _is_usual_folder(name: str) -> bool:
    return bool(re.fullmatch(f"(?:{IMAGE_WORDS}|{LABEL_WORDS}|grid)s?", name, re.IGNORECASE))


def _files(root: Path, enter: Callable[[str], object]) -> Iterator[Path]:
    """Files, and folders that are Zarr stores; nothing that lies in a store or is hidden."""
    real_root, seen = os.path.realpath(root), set[str]()
    for folder, subfolders, names in os.walk(root, followlinks=True):
        if os.path.realpath(folder) in seen:  # two links to one folder
            subfolders.clear()
            continue
        seen.add(os.path.realpath(folder))
        stores = [name for name in subfolders if name.lower().endswith(".zarr")]
        yield from (Path(folder, name) for name in [*names, *stores] if not name.startswith("."))
        subfolders[:] = [
            name
            for name in sorted(subfolders)
            if name not in stores
            and not name.startswith(".")
            and enter(name)
            and not _is_visited_anyway(os.path.join(folder, name), real_root, enter)
        ]


def _is_visited_anyway(folder: str, root: str, enter: Callable[[str], object]) -> bool:
    """Whether a folder is a link to one that the walk comes to without it, or to one above."""
    if not os.path.islink(folder):
        return False
    real = Path(os.path.realpath(folder))
    if Path(root).is_relative_to(real):
        return True
    inside = real.relative_to(root).parts if real.is_relative_to(root) else ("",)
    return all(name and not name.startswith(".") and enter(name) for name in inside)


def _name(folder: Path, key: str) -> str:
    # Not a path: a key such as "." would vanish in one.
    return "/".join([*folder.parts, key])


def _natural(path: Path | str) -> tuple[list[tuple[int, str]], str]:
    """Sort key by which 2 comes before 10; ties are broken by the path itself."""
    parts = re.split(r"(\d+)", str(path).casefold())
    return [(int(part), "") if i % 2 else (-1, part) for i, part in enumerate(parts)], str(path)


def _claims(files: list[Path], root: Path, pattern: re.Pattern[str]) -> dict[Path, str]:
    """Key of each file that a pattern takes."""
    found = {}
    for path in files:
        parts = path.relative_to(root).parts
        most = len(parts) if "/" in pattern.pattern else 1
        ends = ("/".join(parts[-count:]) for count in range(1, most + 1))
        match = next(filter(None, map(pattern.fullmatch, ends)), None)
        if match is None:
            continue
        named = match["id"] if "id" in pattern.groupindex else None
        key = named or next(filter(None, match.groups()), None)
        if key:
            found[path] = key
    return found


def _decide(images: dict[Path, str], labels: dict[Path, str], root: Path) -> None:
    """Leave each file that has the same key as an image and as a label only one of the two."""
    open_ones = []
    for path in [path for path, key in images.items() if labels.get(path) == key]:
        role = _role(path.relative_to(root))
        if role is None:
            open_ones.append(path)
        else:
            (labels if role == "image" else images).pop(path)
    if open_ones:
        key = images[open_ones[0]].casefold()
        alike = [path for path in open_ones if images[path].casefold() == key]
        raise ValueError(
            f"{_some(alike)} can be image and label alike: image_pattern and label_pattern both "
            f"take {'it' if len(alike) == 1 else 'them'}, with the key {images[open_ones[0]]!r}; "
            r"give patterns that see what differs, the folder too, as 'images/(\d+)\.tif' and "
            r"'masks/(\d+)\.tif' (--image_pattern, --label_pattern)"
        )


def _role(path: Path) -> Literal["image", "label"] | None:
    """Say by its name and its folders whether a file is an image or a label."""

    def has(words: str, text: str) -> bool:
        return bool(re.search(rf"(?<![a-z])(?:{words})s?(?![a-z])", text, re.IGNORECASE))

    if has(LABEL_WORDS, path.name):
        return "label"
    # The innermost folder first; the name of an image comes last, as masks have it often as well.
    for part in (*reversed(path.parts[:-1]), path.name):
        image, label = has(IMAGE_WORDS, part), has(LABEL_WORDS, part)
        if image != label:
            return "image" if image else "label"
    return None


def _require_one_role(pairs: list[ScenePair]) -> None:
    """Raise ValueError where a file is the image of one pair and the labels of another."""
    images = {pair.image: pair for pair in pairs}
    for pair in pairs:
        if pair.label in images:
            raise ValueError(
                f"{pair.label} would be the labels of {pair.image} and the image of another pair, "
                f"with {images[pair.label].label}; give patterns that take it once "
                "(--image_pattern, --label_pattern)"
            )


def _by_folder_and_key(claimed: Mapping[Path, str]) -> dict[tuple[Path, str], Path]:
    found: dict[tuple[Path, str], Path] = {}
    spelled: dict[tuple[Path, str], Path] = {}
    for path, key in claimed.items():
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
    root: Path, files: list[Path], patterns: Mapping[str, str | None], *, recursive: bool
) -> str:
    told = ", ".join(_looked_for(role, text) for role, text in patterns.items())
    seen = _some([path.relative_to(root) for path in files]) if files else "no file"
    hint = "" if recursive else "; recursive=True (--recursive) looks into subfolders"
    return f"no image found in {root}, which holds {seen}; looked for {told}{hint}"


def _looked_for(role: str, pattern: str | None) -> str:
    usual = f"(names such as {_USUAL_TOLD[role]})"
    return f"{role}_pattern {usual if pattern is None else repr(pattern)}"


def _some(paths: Iterator[Path] | list[Path] | tuple[Path, ...]) -> str:
    names = [str(path) for path in paths]
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
