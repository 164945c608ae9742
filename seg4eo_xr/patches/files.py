"""Patches that are files already, as a source of a patch store."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
from affine import Affine
from dask.base import compute, tokenize
from dask.delayed import delayed

from seg4eo_xr.patches.class_agreement import StatedClasses, codes_in
from seg4eo_xr.patches.grids import PatchWindows
from seg4eo_xr.patches.headers import read_header, read_pixels, require_alike
from seg4eo_xr.patches.label_files import CODES, LabelReading, coded, read_codes
from seg4eo_xr.progress import progress_bar
from seg4eo_xr.scenes.bands import with_nodata
from seg4eo_xr.scenes.file_layout import ReadRules
from seg4eo_xr.scenes.grid import place
from seg4eo_xr.scenes.matching import is_numbered, label_dtype
from seg4eo_xr.scenes.open import open_scene
from seg4eo_xr.scenes.unlabelled import (
    CodeCounts,
    can_occur,
    free_code,
    stated_code,
    warn_of_codes,
    warn_of_missing_class,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

    import xarray as xr
    from numpy.typing import NDArray

    from seg4eo_xr.patches.headers import Header
    from seg4eo_xr.patches.importing import PatchPair
    from seg4eo_xr.scenes.classes import ClassTable
    from seg4eo_xr.scenes.label_options import LabelOptions

_HEADERS_AT_ONCE = 128
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
    kinds
        Number of what each label file says of its classes, ``(patch,)``.
    reading
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
    kinds: NDArray[np.int64]
    reading: LabelReading
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
            kinds=self.kinds[positions],
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

    @property
    def classes(self) -> tuple[StatedClasses, ...]:
        """What the labels say of their classes: each kind of them."""
        return tuple(map(StatedClasses.of, self.reading.stated()))

    def in_codes_of(self, table: ClassTable, reserved: Collection[int]) -> FilePatches:
        """Return the source with labels in the codes of a table that has all their classes."""
        what = f"the labels of {self.name}"
        codes = tuple(codes_in(table, stated, what, reserved) for stated in self.classes)
        if any(self.reading.codes):
            return self  # they are in these codes already
        labels = self.labels
        if any(codes):
            new = [code for one in codes for code in one.values()]
            labels = labels.astype(label_dtype(new, labels.dtype))
        return replace(self, labels=labels, reading=replace(self.reading, codes=codes))

    def section(self, patches: slice) -> FileSection:
        """Return what a worker needs to read some patches."""
        return FileSection(
            self.pairs[patches],
            self.versions[patches],
            self.kinds[patches],
            self.reading,
            self.rules,
        )

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
    kinds
        Number of what each label file says of its classes, ``(patch,)``.
    reading
        How label files are read.
    rules
        How image files are read.
    """

    pairs: tuple[PatchPair, ...]
    versions: NDArray[np.int64]
    kinds: NDArray[np.int64]
    reading: LabelReading
    rules: ReadRules

    def __dask_tokenize__(self) -> tuple[str, str]:
        files = [(str(pair.image), str(pair.label)) for pair in self.pairs]
        token = tokenize(files, self.versions, self.kinds, self.reading, self.rules)
        return "FileSection", token

    @property
    def names(self) -> list[str]:
        """What error messages call the patches."""
        return [f"patch {pair.image}" for pair in self.pairs]

    def read(self, _: Any) -> tuple[np.ndarray, np.ndarray]:
        """Read the files: images ``(patch, band, y, x)`` and labels ``(patch, y, x)``."""
        images = np.stack([read_pixels(pair.image, self.rules)[0] for pair in self.pairs])
        return images, self.reading.read([pair.label for pair in self.pairs], self.kinds)

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
        The classes; None takes those that label files state.
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
    require_alike(pairs, headers, colors=classes is not None)
    if classes is not None:
        headers = [(image, coded(label, classes)) for image, label in headers]
    options = with_code(pairs, [label for _, label in headers], options, classes, ignore)
    by_crs: dict[str, list[int]] = {}
    for position, (image, _) in enumerate(headers):
        by_crs.setdefault(image.crs, []).append(position)
    # images without missing pixels join those of the same folder that have some
    marks = [image.nodata for image, _ in headers if image.nodata is not None]
    rules = replace(rules, mark=marks[0] if marks else None)
    reading = LabelReading(options, classes)
    sources = [
        _source(
            [pairs[i] for i in chosen], [headers[i] for i in chosen], reading, rules, band_names
        )
        for chosen in by_crs.values()
    ]
    return sources, headers[0][0].shape[-1]


def _headers(pairs: Sequence[PatchPair], rules: ReadRules) -> list[tuple[Header, Header]]:
    return [
        (read_header(pair.image, rules), read_header(pair.label, CODES, classes=True))
        for pair in pairs
    ]


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
    if classes is not None and options.ignore is None:
        for code in stated - options.no_label:
            warn_of_missing_class(classes, code, stacklevel=5)
    own = stated.copy().pop() if len(stated) == 1 else None
    if own is not None and options.ignore is None and wanted in (None, own):
        return replace(options, ignore=own)
    paths = [pair.label for pair in pairs]
    batches = [paths[i : i + _HEADERS_AT_ONCE] for i in range(0, len(paths), _HEADERS_AT_ONCE)]
    parts = compute([delayed(_count_labels, pure=False)(batch, classes) for batch in batches])[0]
    counts = CodeCounts.joined(parts).without(options.no_label)
    known = () if classes is None else classes.codes
    what = f"the label files of {pairs[0].label.parents[2]}"
    unknown = [code for code in counts.pixels if code not in known]
    numbered = any(is_numbered(dict(label.classes)) for label in labels)
    if classes is not None and unknown and not numbered:
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


def _count_labels(paths: Sequence[Path], classes: ClassTable | None) -> CodeCounts:
    """Count the codes of label files, without what each says is missing."""
    counts = []
    for path in paths:
        values, nodata = read_codes(path, classes)
        own = _stated(nodata, values.dtype)
        counts.append(CodeCounts.of(values).without(() if own is None else (own,)))
    return CodeCounts.joined(counts)


def _source(
    pairs: Sequence[PatchPair],
    headers: Sequence[tuple[Header, Header]],
    reading: LabelReading,
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
    stated = [label.classes for _, label in headers]
    attrs = tuple(dict.fromkeys(stated))
    number = {text: kind for kind, text in enumerate(attrs)}
    reading = replace(reading, attrs=attrs)
    labels = reading.opened(pairs[0].label)
    # One file of each kind: the dtype of codes follows from what a file states.
    kinds = {
        (label.dtype, str(label.nodata), label.classes): pair.label
        for pair, (_, label) in zip(pairs, headers, strict=True)
    }
    dtypes = {reading.opened(path).dtype for path in kinds.values()}
    labels = labels.astype(np.result_type(labels.dtype, *dtypes))
    versions = np.array([(*image.version, *label.version) for image, label in headers], np.int64)
    return FilePatches(
        str(pairs[0].image.parents[2]),
        _stretched_out(scene, shape, transform, scene.rio.crs),
        _stretched_out(labels, shape, transform, scene.rio.crs),
        windows,
        tuple(pairs),
        versions,
        np.array([number[text] for text in stated], np.int64),
        reading,
        rules,
    )


def _stretched_out(
    array: xr.DataArray, shape: tuple[int, int], transform: Affine, crs: Any
) -> xr.DataArray:
    """Metadata of a patch for a whole grid, with pixels that nobody reads."""
    nothing = da.zeros((*array.shape[:-2], *shape), dtype=array.dtype, chunks=-1)
    placed = place(nothing, crs, transform).assign_attrs(array.attrs)
    return placed.assign_coords(band=array["band"]) if "band" in array.dims else placed
