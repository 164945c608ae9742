"""Patches that are files already, as a source of a patch store."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import rasterio
from affine import Affine
from dask.base import compute, tokenize
from dask.delayed import delayed

from seg4eo_xr.patches.grids import PatchWindows
from seg4eo_xr.patches.headers import read_header, read_pixels, require_alike
from seg4eo_xr.progress import progress_bar
from seg4eo_xr.scenes.bands import with_nodata
from seg4eo_xr.scenes.class_files import named_classes
from seg4eo_xr.scenes.classes import ClassTable
from seg4eo_xr.scenes.file_layout import ReadRules
from seg4eo_xr.scenes.grid import place
from seg4eo_xr.scenes.labels import open_labels
from seg4eo_xr.scenes.open import open_scene
from seg4eo_xr.scenes.unlabelled import (
    CodeCounts,
    can_occur,
    free_code,
    stated_code,
    warn_of_codes,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import xarray as xr
    from numpy.typing import NDArray

    from seg4eo_xr.patches.headers import Header
    from seg4eo_xr.patches.importing import PatchPair
    from seg4eo_xr.scenes.label_options import LabelOptions

_HEADERS_AT_ONCE = 128
_CODES = ReadRules(codes=True)
_SIZE_DIGITS = 9  # of a pixel's size, so that rounding in a file's text makes no second size


@dataclass(frozen=True, eq=False)
class FilePatches:
    """Patches of one CRS that are files, as a source of a patch store.

    Parameters
    ----------
    name
        What `info` and error messages call them.
    scene, labels
        Metadata of images and labels on the grid that the patches lie on; no pixels.
    windows
        The patches; their groups are their splits.
    pairs
        The files.
    versions
        Sizes and times of the files, ``(patch, 4)``.
    options
        How label files are read.
    rules
        How image files are read.
    """

    name: str
    scene: xr.DataArray
    labels: xr.DataArray
    windows: PatchWindows
    pairs: tuple[PatchPair, ...]
    versions: NDArray[np.int64]
    options: LabelOptions
    rules: ReadRules

    def reading_order(self) -> NDArray[np.intp]:
        """Order of the files' names."""
        return np.arange(len(self.pairs))

    def with_nodata(self, nodata: float) -> FilePatches:
        """Return the source, which states none, with a nodata value that no pixel has."""
        rules = replace(self.rules, mark=nodata)
        return replace(self, scene=with_nodata(self.scene, nodata), rules=rules)

    def take(self, positions: NDArray[np.int64]) -> FilePatches:
        """Return the source with the patches at `positions` only, in that order."""
        return replace(
            self,
            windows=self.windows.take(positions),
            pairs=tuple(self.pairs[position] for position in positions),
            versions=self.versions[positions],
        )

    def with_ignore(self, code: int) -> FilePatches:
        """Return the source itself: `file_sources` has chosen one code for all files.

        Raises
        ------
        ValueError
            If another code is wanted.
        """
        if code != self.labels.rio.nodata:
            raise ValueError(
                f"pixels without a label have the code {self.labels.rio.nodata} in {self.name}, "
                f"but {code} is wanted; say so with ignore={code} (--ignore {code})"
            )
        return self

    def section(self, patches: slice) -> FileSection:
        """Return what a worker needs to read some patches."""
        return FileSection(self.pairs[patches], self.versions[patches], self.options, self.rules)

    def inputs(self, _: Any) -> list[Any]:
        """Nothing has to be computed before the files are read."""
        return []


@dataclass(frozen=True, eq=False)
class FileSection:
    """Consecutive patches that are files.

    Parameters
    ----------
    pairs
        The files.
    versions
        Sizes and times of the files, ``(patch, 4)``.
    options
        How label files are read.
    rules
        How image files are read.
    """

    pairs: tuple[PatchPair, ...]
    versions: NDArray[np.int64]
    options: LabelOptions
    rules: ReadRules

    def __dask_tokenize__(self) -> tuple[str, str]:
        files = [(str(pair.image), str(pair.label)) for pair in self.pairs]
        return "FileSection", tokenize(files, self.versions, self.options, self.rules)

    @property
    def names(self) -> list[str]:
        """What error messages call the patches."""
        return [f"patch {pair.image}" for pair in self.pairs]

    def read(self, _: Any) -> tuple[np.ndarray, np.ndarray]:
        """Read the files: images ``(patch, band, y, x)`` and labels ``(patch, y, x)``."""
        images = np.stack([read_pixels(pair.image, self.rules)[0] for pair in self.pairs])
        return images, _read_labels([pair.label for pair in self.pairs], self.options)

    def inside(self) -> None:
        """Files hold no pixel outside."""
        return


def file_sources(
    pairs: Sequence[PatchPair],
    options: LabelOptions,
    *,
    band_names: tuple[str, ...] | None = None,
    keep_alpha: bool = False,
    classes: ClassTable | None = None,
    ignore: int | None = None,
    progress: bool = True,
) -> tuple[list[FilePatches], int]:
    """Read the headers of patches, and place the patches on one grid a CRS.

    Parameters
    ----------
    pairs
        The files; at least one.
    options
        How label files are read.
    band_names
        Names of the bands, where the files have none or others.
    keep_alpha
        Whether a band of the images that is marked as alpha is a band like the others.
    classes
        The classes of the labels, if they are given.
    ignore
        Code of pixels without a label of the store that the patches are added to.
    progress
        Show a bar where it takes longer than two seconds.

    Returns
    -------
    sources : list of FilePatches
        One a CRS, in the order of the first patch of each.
    patch_size : int
        Side of all patches in pixels.

    Raises
    ------
    OSError
        If a file cannot be read.
    ValueError
        If files do not go together; the message names two.
    """
    batches = [pairs[i : i + _HEADERS_AT_ONCE] for i in range(0, len(pairs), _HEADERS_AT_ONCE)]
    with progress_bar("reading headers", enabled=progress):
        rules = ReadRules(keep_alpha=keep_alpha)
        parts = compute([delayed(_headers, pure=False)(batch, rules) for batch in batches])[0]
    headers = [header for part in parts for header in part]
    require_alike(pairs, headers)
    options = with_code(pairs, [label for _, label in headers], options, classes, ignore)
    by_crs: dict[str, list[int]] = {}
    for position, (image, _) in enumerate(headers):
        by_crs.setdefault(image.crs, []).append(position)
    # images without missing pixels join those of the same folder that have some
    marks = [image.nodata for image, _ in headers if image.nodata is not None]
    rules = replace(rules, mark=marks[0] if marks else None)
    sources = [
        _source(
            [pairs[i] for i in chosen], [headers[i] for i in chosen], options, rules, band_names
        )
        for chosen in by_crs.values()
    ]
    return sources, headers[0][0].shape[-1]


def _headers(pairs: Sequence[PatchPair], rules: ReadRules) -> list[tuple[Header, Header]]:
    return [(read_header(pair.image, rules), read_header(pair.label, _CODES)) for pair in pairs]


def with_code(
    pairs: Sequence[PatchPair],
    labels: Sequence[Header],
    options: LabelOptions,
    classes: ClassTable | None,
    wanted: int | None,
) -> LabelOptions:
    """Choose one code of pixels without a label for all label files.

    Files that state no nodata value are read for this, and all where they state different ones.

    Parameters
    ----------
    pairs
        The files.
    labels
        What the label files say about themselves.
    options
        How label files are read.
    classes
        The classes, if they are given.
    wanted
        The code that it has to be; None where any will do.

    Raises
    ------
    ValueError
        If files hold a code that is none of the classes, or the wanted one as a class.
    """
    if options.ignore is not None and wanted in (None, options.ignore):
        return options
    stated = {_stated(label.nodata, np.dtype(label.dtype)) for label in labels}
    own = stated.copy().pop() if len(stated) == 1 else None
    if own is not None and options.ignore is None and wanted in (None, own):
        return replace(options, ignore=own)
    paths = [pair.label for pair in pairs]
    batches = [paths[i : i + _HEADERS_AT_ONCE] for i in range(0, len(paths), _HEADERS_AT_ONCE)]
    parts = compute([delayed(_count_labels, pure=False)(batch) for batch in batches])[0]
    counts = CodeCounts.joined(parts).without(options.no_label)
    known = () if classes is None else classes.codes
    what = f"the label files of {pairs[0].label.parents[2]}"
    unknown = [code for code in counts.pixels if code not in known]
    if classes is not None and unknown:
        raise ValueError(
            f"{what} hold the class codes {unknown}, which are not in the class table "
            f"{list(known)}; add them to the table, or name them in unlabelled= (--unlabelled)"
        )
    if options.ignore is None and None in stated:
        warn_of_codes(counts, what, known, stacklevel=5)
    if wanted is None:
        return replace(options, ignore=free_code({*counts.pixels, *known}))
    if wanted in counts.pixels:
        raise ValueError(
            f"{what} hold the code {wanted}, which marks pixels without a label in the store; if "
            f"these have none, say so with ignore={wanted} (--ignore {wanted}), and if it is a "
            "class, write another store"
        )
    return replace(options, ignore=wanted, unlabelled=tuple(options.no_label))


def _stated(nodata: float | None, dtype: np.dtype[Any]) -> int | None:
    return stated_code(nodata, dtype) if can_occur(nodata, dtype) else None


def _count_labels(paths: Sequence[Path]) -> CodeCounts:
    """Count the codes of label files, without what each says is missing."""
    counts = []
    for path in paths:
        values, nodata = read_pixels(path, _CODES)
        own = _stated(nodata, values.dtype)
        counts.append(CodeCounts.of(values).without(() if own is None else (own,)))
    return CodeCounts.joined(counts)


def _read_labels(paths: Sequence[Path], options: LabelOptions) -> np.ndarray:
    """Class codes ``(label, y, x)``."""
    read = [read_pixels(path, _CODES) for path in paths]
    alike = len({nodata for _, nodata in read}) == 1
    if alike and not options.ignore_border:  # borders must not reach into other patches
        try:
            # All at once, one below the other: what is done for each costs more than its pixels.
            column = np.concatenate([values for values, _ in read], axis=1)
            codes = _as_codes(column, read[0][1], options).values
        except ValueError:
            pass  # each for itself, so that the message names the file
        else:
            return codes.reshape(len(paths), -1, codes.shape[-1])
    return np.stack([_read_label(path, options).values for path in paths])


def _read_label(path: Path, options: LabelOptions) -> xr.DataArray:
    try:
        return _as_codes(*read_pixels(path, _CODES), options)
    except ValueError as error:
        raise ValueError(f"label {path}: {error}") from error


def _as_codes(values: np.ndarray, nodata: float | None, options: LabelOptions) -> xr.DataArray:
    """Class codes ``(y, x)``, wherever they lie: labels of some tools have no place."""
    somewhere = place(values, "EPSG:3857", Affine.scale(1, -1))
    if nodata is not None:
        somewhere = somewhere.rio.write_nodata(nodata)
    return open_labels(somewhere, options=options)


def _class_table(path: Path) -> ClassTable | None:
    """Class table of a label file's tags or category names."""
    with rasterio.open(path) as raster:
        tags = {**raster.tags(), **raster.tags(1)}
    try:
        return named_classes(path) or ClassTable.from_attrs(tags)
    except ValueError:
        return None  # somebody else's tags


def _source(
    pairs: Sequence[PatchPair],
    headers: Sequence[tuple[Header, Header]],
    options: LabelOptions,
    rules: ReadRules,
    band_names: tuple[str, ...] | None,
) -> FilePatches:
    """Place patches of one CRS on a grid of their most frequent pixel size."""
    images = [image for image, _ in headers]
    transforms = np.array([image.transform for image in images])
    side = images[0].shape[-1]
    (width, height), _ = Counter(
        (float(f"{a:.{_SIZE_DIGITS}g}"), float(f"{-e:.{_SIZE_DIGITS}g}"))
        for a, e in transforms[:, [0, 4]]
    ).most_common(1)[0]
    left, top = transforms[:, 2].min(), transforms[:, 5].max()
    cols = np.rint((transforms[:, 2] - left) / width).astype(np.int64)
    rows = np.rint((top - transforms[:, 5]) / height).astype(np.int64)
    widths = np.rint(transforms[:, 0] * side / width).astype(np.int64).clip(min=1)
    heights = np.rint(-transforms[:, 4] * side / height).astype(np.int64).clip(min=1)
    ids, groups = (np.array([getattr(pair, name) for pair in pairs]) for name in ("id", "split"))
    windows = PatchWindows(rows, cols, heights, widths, ids, groups)
    transform = Affine(width, 0.0, left, 0.0, -height, top)
    shape = int((rows + heights).max()), int((cols + widths).max())
    scene = open_scene(pairs[0].image, band_names=band_names, keep_alpha=rules.keep_alpha)
    if rules.mark is not None:
        scene = with_nodata(scene, rules.mark)
    labels = _read_label(pairs[0].label, options)
    table = _class_table(pairs[0].label)
    if table is not None:
        labels = labels.assign_attrs(table.without(options.no_label).to_attrs())
    versions = np.array([(*image.version, *label.version) for image, label in headers], np.int64)
    return FilePatches(
        str(pairs[0].image.parents[2]),
        _stretched_out(scene, shape, transform, scene.rio.crs),
        _stretched_out(labels, shape, transform, scene.rio.crs),
        windows,
        tuple(pairs),
        versions,
        options,
        rules,
    )


def _stretched_out(
    array: xr.DataArray, shape: tuple[int, int], transform: Affine, crs: Any
) -> xr.DataArray:
    """Metadata of a patch for a whole grid, with pixels that nobody reads."""
    nothing = da.zeros((*array.shape[:-2], *shape), dtype=array.dtype, chunks=-1)
    placed = place(nothing, crs, transform).assign_attrs(array.attrs)
    return placed.assign_coords(band=array["band"]) if "band" in array.dims else placed
