"""The code of pixels without a label: stated by the file or the user, or free of the classes."""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from dask.base import compute
from dask.delayed import delayed

from seg4eo_xr.notices import warn
from seg4eo_xr.scenes.label_options import LabelWarning

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    import dask.array as da

    from seg4eo_xr.scenes.classes import ClassTable

USUAL = 255
"""Code of pixels without a label where nothing else is stated."""
_ATTRIBUTE = "unlabelled_code"
COUNTED = {_ATTRIBUTE: "counted"}
"""Attribute of labels that state no nodata value and whose pixels were counted when opened."""
ASSUMED = {_ATTRIBUTE: "assumed"}
"""Attribute of labels of which nobody has stated or checked that `USUAL` is no class."""

_LOWEST, _HIGHEST = -(2**15), 2**15 - 1
_PIXELS_AT_ONCE = 1 << 20
# What is read of a file at most when it is opened: as long as reading some ten chunks of a scene.
_MOST_PIXELS = 48_000_000
_MOST_REMOTE_PIXELS = 4_000_000
_MOST_LISTED = 12  # codes in a message
_joining: ContextVar[list[tuple[CodeCounts, str]] | None] = ContextVar("joining", default=None)
# Names in class tables that say that a code is none.
_NO_CLASS = {
    *("no data", "nodata", "missing", "no label", "unlabelled", "unlabeled", "unclassified"),
    *("ignore", "ignored", "void", "invalid", "undefined"),
}


def free_code(classes: Iterable[int]) -> int:
    """Choose a code that no class has: 255, else a byte where all classes are bytes.

    Examples
    --------
    >>> free_code([0, 1]), free_code([0, 255]), free_code([111, 255, 311])
    (255, 254, -32768)
    """
    taken: set[int] = {0, *classes}  # 0 without a label would be taken for the background
    bytes_only = min(taken) == 0 and max(taken) <= USUAL
    usual: Iterable[int] = range(USUAL, -1, -1) if bytes_only else (USUAL,)
    candidates: Iterable[int] = (*usual, *range(_LOWEST, _HIGHEST))
    return next(code for code in candidates if code not in taken)


@dataclass(frozen=True)
class CodeCounts:
    """Pixels of each code of 16 bits.

    Parameters
    ----------
    pixels
        By code; codes that do not occur are absent.
    total
        Pixels looked at.
    complete
        Whether all pixels of the labels were looked at.
    """

    pixels: Mapping[int, int]
    total: int
    complete: bool = True

    @classmethod
    def of(cls, values: np.ndarray) -> CodeCounts:
        """Count the codes of an array; fractions and what is beyond 16 bits are left out."""
        flat, counts = np.ravel(values), np.zeros(1 << 16, np.int64)
        for first in range(0, len(flat), _PIXELS_AT_ONCE):
            part = flat[first : first + _PIXELS_AT_ONCE]
            if fits_byte(part.dtype):
                counts[-_LOWEST:][:256] += np.bincount(part, minlength=256)
                continue
            fits = (part >= _LOWEST) & (part <= _HIGHEST)
            if part.dtype.kind == "f":
                fits &= part == np.floor(part)
            counts += np.bincount(part[fits].astype(np.int32) - _LOWEST, minlength=1 << 16)
        found = np.flatnonzero(counts)
        codes = (found + _LOWEST).tolist()
        return cls(dict(zip(codes, counts[found].tolist(), strict=True)), len(flat))

    @classmethod
    def joined(cls, parts: Iterable[CodeCounts], *, complete: bool = True) -> CodeCounts:
        """Add up the counts of several arrays."""
        pixels: dict[int, int] = {}
        total = 0
        for part in parts:
            total += part.total
            complete &= part.complete
            for code, count in part.pixels.items():
                pixels[code] = pixels.get(code, 0) + count
        return cls(dict(sorted(pixels.items())), total, complete)

    def share(self, code: int) -> str:
        """Pixels of a code as a part of all, in words."""
        about = "" if self.complete else "about "
        return about + _share(self.pixels[code], self.total)

    def without(self, codes: Collection[int]) -> CodeCounts:
        """Leave out some codes, as those that mean "no label"."""
        kept = {code: count for code, count in self.pixels.items() if code not in codes}
        return replace(self, pixels=kept)


def _share(count: int, total: int, unit: str = "pixels") -> str:
    return f"{count:,} of {total:,} {unit} ({100 * count / total:.3g} %)"


def count_codes(array: np.ndarray | da.Array, *, remote: bool = False) -> CodeCounts:
    """Count the codes of labels; of large lazy ones, those of chunks spread evenly over them.

    Parameters
    ----------
    array
        ``(y, x)``.
    remote
        Whether chunks come over a network; fewer are read then.
    """
    if isinstance(array, np.ndarray):
        return CodeCounts.of(array)
    most = _MOST_REMOTE_PIXELS if remote else _MOST_PIXELS
    blocks = array.to_delayed().ravel()
    number = max(1, min(len(blocks), len(blocks) * most // max(1, array.size)))
    chosen = np.linspace(0, len(blocks) - 1, number).round().astype(int)
    # Not by the scheduler of the scene: these few chunks are read here and now.
    parts = compute([delayed(CodeCounts.of)(blocks[i]) for i in chosen], scheduler="threads")[0]
    return CodeCounts.joined(parts, complete=number == len(blocks))


def fits_byte(dtype: np.dtype[Any]) -> bool:
    """Whether all numbers of a dtype are bytes."""
    return dtype.kind == "b" or dtype == np.uint8


def stated_code(nodata: float | None, dtype: np.dtype[Any]) -> int | None:
    """Nodata value of labels as the code of pixels without a label, if it can be one."""
    if nodata is None or not float(nodata).is_integer():
        return None
    limits = np.iinfo(np.uint8 if fits_byte(dtype) else np.int16)
    return int(nodata) if limits.min <= nodata <= limits.max else None


def can_occur(nodata: float | None, dtype: np.dtype[Any]) -> bool:
    """Whether numbers of a dtype can equal a nodata value."""
    if nodata is None:
        return False
    if dtype.kind == "f":
        return True
    if dtype.kind == "b" or not float(nodata).is_integer():
        return False
    return bool(np.iinfo(dtype).min <= nodata <= np.iinfo(dtype).max)


@dataclass(frozen=True)
class ChosenCode:
    """The code of pixels without a label.

    Parameters
    ----------
    code
        The code; None where it is not chosen yet.
    reserved
        Whether a pixel of that code in the source is an error: it is neither stated nor known that
        there is none.
    attrs
        Attributes of the labels: `COUNTED`, `ASSUMED` or none.
    """

    code: int | None
    reserved: bool = False
    attrs: Mapping[str, str] = field(default_factory=dict)


def choose_code(
    plane: xr.DataArray,
    nodata: float | None,
    classes: Collection[int],
    counts: CodeCounts | None,
    *,
    recoded: bool,
) -> ChosenCode:
    """Choose the code of pixels without a label for a raster, where the user states none.

    The raster's own nodata value where it has one, else 255, or where 255 is a class a code that no
    class has. Without a nodata value, pixels of 255 are a class.

    Parameters
    ----------
    plane
        The raster, ``(y, x)``.
    nodata
        Its nodata value.
    classes
        Codes of the class table; empty where there is none.
    counts
        Pixels of each code, of a raster without a nodata value; None where they are not known.
    recoded
        Whether other numbers of the raster become the code.
    """
    if can_occur(nodata, plane.dtype):
        own = stated_code(nodata, plane.dtype)
        if own is None:
            return ChosenCode(_LOWEST, reserved=True)
        return ChosenCode(own, attrs={k: v for k, v in plane.attrs.items() if k == _ATTRIBUTE})
    if counts is None:
        code = free_code(classes)
        # where other pixels become that code too, those that had it could not be counted
        assumed = code == USUAL and not recoded
        return ChosenCode(code, reserved=not assumed, attrs=ASSUMED if assumed else {})
    found = set(counts.pixels)
    if counts.complete:
        return ChosenCode(free_code(found.union(classes)), attrs=COUNTED)
    if USUAL in found or USUAL in classes:
        # any byte may be a class of the pixels that were not read
        return ChosenCode(_LOWEST, reserved=True, attrs=COUNTED)
    return ChosenCode(USUAL, reserved=recoded, attrs={} if recoded else ASSUMED)


def move_code(labels: xr.DataArray, code: int, what: str) -> xr.DataArray:
    """Give pixels without a label another code, lazily where the labels are lazy.

    Parameters
    ----------
    labels
        As `open_labels` gives them.
    code
        The new code; a pixel that has it is an error when it is read.
    what
        What the error message calls the labels.
    """
    own = int(labels.rio.nodata)
    whole = np.iinfo(labels.dtype)
    dtype = labels.dtype if whole.min <= code <= whole.max else np.dtype(np.int16)
    moved = xr.apply_ufunc(
        _moved,
        labels.variable,
        kwargs={"own": own, "code": code, "what": what, "dtype": dtype},
        dask="parallelized",
        output_dtypes=[dtype],
    )
    marked: xr.DataArray = labels.copy(data=moved.data).rio.write_nodata(code)
    return marked.assign_attrs({k: v for k, v in labels.attrs.items() if k != "_FillValue"})


def _moved(values: np.ndarray, own: int, code: int, what: str, dtype: np.dtype[Any]) -> np.ndarray:
    if (values == code).any():
        raise ValueError(
            f"{what} hold the class code {code}, which marks pixels without a label in the patch "
            "store; renumber that class, or write another store"
        )
    return np.where(values == own, dtype.type(code), values.astype(dtype, copy=False))


def warn_of_codes(
    counts: CodeCounts, what: str, classes: Collection[int], *, stacklevel: int
) -> None:
    """Warn of codes that often mean "no label", and are classes since nobody says that they do.

    Parameters
    ----------
    counts
        Pixels of each code.
    what
        What the warning calls the labels.
    classes
        Codes that a class table has; of these there is no warning.
    stacklevel
        As of `warnings.warn`.
    """
    joining = _joining.get()
    if joining is not None:
        odd = {code for code in counts.pixels if code == USUAL or code < 0}
        if odd - set(classes):
            joining.append((counts.without(odd & set(classes)), what))
        return
    if USUAL in counts.pixels and USUAL not in classes:
        codes = list(counts.pixels)
        listed = " ".join(map(str, codes if len(codes) <= _MOST_LISTED else [*codes[:2], "..."]))
        warn(
            f"{what} hold {USUAL} in {counts.share(USUAL)} and state "
            f"no nodata value, so {USUAL} is a class; if these pixels have no label, say so with "
            f"ignore={USUAL} (--ignore {USUAL}); if they have, list the classes with classes= "
            f"(--classes {listed})",
            LabelWarning,
            stacklevel=stacklevel + 1,
        )
    others = counts.without(classes)
    warn_of_negative(others.pixels, counts.total, what, stacklevel=stacklevel + 1)


@contextmanager
def one_warning_of_codes() -> Iterator[None]:
    """Join what `warn_of_codes` has to say of many labels into one warning, at the end."""
    found: list[tuple[CodeCounts, str]] = []
    token = _joining.set(found)
    try:
        yield
    finally:
        _joining.reset(token)
        if found:
            first, others = found[0][1], len(found) - 1
            what = f"{first} and {others} more" if others else first
            warn_of_codes(CodeCounts.joined(counts for counts, _ in found), what, (), stacklevel=4)


def warn_of_missing_class(classes: ClassTable, code: int | None, *, stacklevel: int) -> None:
    """Warn where a class that somebody lists is what label rasters state as nodata.

    Parameters
    ----------
    classes
        The table that was given.
    code
        Nodata value of the rasters as a code; None where they state none.
    stacklevel
        As of `warnings.warn`.
    """
    if code not in classes.codes:
        return
    name = classes.names[classes.codes.index(code)]
    if name.casefold() not in _NO_CLASS:
        warn(
            f"the class table lists the code {code} ({name!r}), but label rasters state {code} as "
            "their nodata value, so these pixels count as missing and the class does not occur: "
            "leave it out of the table, or remove the nodata value if they are labelled "
            "(gdal_edit.py -unsetnodata FILE, labels.rio.write_nodata(None))",
            LabelWarning,
            stacklevel=stacklevel + 1,
        )


def warn_of_negative(
    pixels: Mapping[int, int], total: int, what: str, *, unit: str = "pixels", stacklevel: int
) -> None:
    """Warn of negative codes, which are classes since nobody says that they mean "no label"."""
    negative = {code: count for code, count in pixels.items() if code < 0 and count}
    if not negative:
        return
    shares = " and ".join(f"{code} in {_share(n, total, unit)}" for code, n in negative.items())
    codes = " ".join(map(str, negative))
    warn(
        f"{what} hold {shares}, and negative codes are classes here; if these {unit} have no "
        f"label, say so with unlabelled={tuple(negative)} (--unlabelled {codes}); if "
        "they have, name the codes in a class table (classes=, --classes)",
        LabelWarning,
        stacklevel=stacklevel + 1,
    )


def is_assumed(attrs: Mapping[Any, Any]) -> bool:
    """Whether nobody has stated or checked that `USUAL` is no class of labels of these attributes.

    Examples
    --------
    >>> is_assumed({"unlabelled_code": "assumed"}), is_assumed({})
    (True, False)
    """
    return attrs.get(_ATTRIBUTE) == ASSUMED[_ATTRIBUTE]


def is_counted(attrs: Mapping[Any, Any]) -> bool:
    """Whether labels of these attributes state no nodata value and were counted when opened."""
    return attrs.get(_ATTRIBUTE) == COUNTED[_ATTRIBUTE]


def warn_of_assumed(count: int, total: int, what: str, *, stacklevel: int) -> None:
    """Warn of pixels that have no label only by assumption.

    Parameters
    ----------
    count
        Pixels of `USUAL`.
    total
        All that were counted.
    what
        What the warning calls the labels.
    stacklevel
        As of `warnings.warn`.
    """
    if count:
        warn(
            f"{what} hold {USUAL} in {_share(count, total)} and state no nodata value; these "
            f"pixels count as unlabelled. If that is right, say so with ignore={USUAL} (--ignore "
            f"{USUAL}); if {USUAL} is a class, list the classes, {USUAL} among them, with classes= "
            "(--classes)",
            LabelWarning,
            stacklevel=stacklevel + 1,
        )


def warn_of_counted(
    pixels: Mapping[int, int], total: int, what: str, attrs: Mapping[Any, Any], *, stacklevel: int
) -> None:
    """Warn of negative codes of labels that had not been counted when they were opened.

    Parameters
    ----------
    pixels
        Pixels of each code that no class table has.
    total
        All that were counted.
    what
        What the warning calls the labels.
    attrs
        Attributes of the labels.
    stacklevel
        As of `warnings.warn`.
    """
    if not is_counted(attrs):
        warn_of_negative(pixels, total, what, stacklevel=stacklevel + 1)
