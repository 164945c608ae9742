"""Label files of patches, read as class codes of one table."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from affine import Affine

from seg4eo_xr.patches.headers import read_pixels
from seg4eo_xr.scenes.file_layout import ReadRules
from seg4eo_xr.scenes.grid import place
from seg4eo_xr.scenes.label_pictures import code_of_picture, codes_of_picture
from seg4eo_xr.scenes.labels import open_labels
from seg4eo_xr.scenes.matching import is_numbered, label_dtype, recoded

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from seg4eo_xr.patches.headers import Header
    from seg4eo_xr.scenes.classes import ClassTable
    from seg4eo_xr.scenes.label_options import LabelOptions

CODES = ReadRules(codes=True)
"""How the numbers of label files are read."""


def coded(header: Header, classes: ClassTable) -> Header:
    """Return what a label file says of its codes: a picture has those of its colours."""
    if header.shape[0] == 1:
        return header
    mark, dtype = code_of_picture(classes)
    return replace(header, nodata=float(mark), dtype=str(dtype))


def read_codes(path: Path, classes: ClassTable | None) -> tuple[np.ndarray, float | None]:
    """Read codes ``(1, y, x)`` of a label file, of a picture by its colours, and their nodata."""
    values, nodata = read_pixels(path, CODES)
    if classes is None or len(values) == 1:
        return values, nodata
    picture = xr.DataArray(values, dims=("band", "y", "x"))
    picture = codes_of_picture(picture, nodata, classes, f"label {path}")
    return picture.values, picture.rio.nodata


@dataclass(frozen=True)
class LabelReading:
    """How label files become class codes.

    Parameters
    ----------
    options
        Codes without a label.
    given
        The classes that somebody gave.
    attrs
        Each kind of what label files say of their classes.
    codes
        New code of each code, by kind; empty where they stay.
    """

    options: LabelOptions
    given: ClassTable | None
    attrs: tuple[tuple[tuple[str, str], ...], ...] = ()
    codes: tuple[dict[int, int], ...] = ()

    def stated(self) -> list[dict[Any, Any]]:
        """Attributes of the labels of each kind, as they are opened."""
        assert self.options.ignore is not None  # one code for all files
        nothing = np.full((1, 1, 1), self.options.ignore, np.int16)
        return [
            _opened(nothing, None, dict(attrs), self.options, self.given).attrs
            for attrs in self.attrs
        ]

    def opened(self, path: Path, kind: int = 0) -> xr.DataArray:
        """Labels of one file ``(y, x)``, wherever they lie."""
        try:
            return self._labels(*read_codes(path, self.given), kind)
        except ValueError as error:
            raise ValueError(f"label {path}: {error}") from error

    def read(self, paths: Sequence[Path], kinds: NDArray[np.int64]) -> np.ndarray:
        """Class codes ``(label, y, x)``."""
        read = [read_codes(path, self.given) for path in paths]
        alike = len({nodata for _, nodata in read}) == len(set(kinds.tolist())) == 1
        if alike and not self.options.ignore_border:  # borders must not reach into other patches
            try:
                # All at once, one below the other: what is done for each costs more than pixels.
                column = np.concatenate([values for values, _ in read], axis=1)
                codes = self._labels(column, read[0][1], int(kinds[0])).values
            except ValueError:
                pass  # each for itself, so that the message names the file
            else:
                return codes.reshape(len(paths), -1, codes.shape[-1])
        files = zip(paths, kinds.tolist(), strict=True)
        return np.stack([self.opened(path, kind).values for path, kind in files])

    def _labels(self, values: np.ndarray, nodata: float | None, kind: int) -> xr.DataArray:
        attrs = dict(self.attrs[kind])
        if self.given is not None and not is_numbered(attrs):
            attrs = {}  # what the given table makes of their names has been said
        labels = _opened(values, nodata, attrs, self.options, self.given)
        moved = self.codes[kind] if self.codes else {}
        if not moved:
            return labels
        ignore = int(labels.rio.nodata)
        dtype = label_dtype([*moved.values(), ignore], labels.dtype)
        return labels.copy(data=recoded(labels.values, moved, ignore, dtype, "the labels"))


def _opened(
    values: np.ndarray,
    nodata: float | None,
    attrs: dict[Any, Any],
    options: LabelOptions,
    classes: ClassTable | None,
) -> xr.DataArray:
    """Labels, wherever they lie: those of some tools have no place."""
    somewhere = place(values, "EPSG:3857", Affine.scale(1, -1)).assign_attrs(attrs)
    if nodata is not None:
        somewhere = somewhere.rio.write_nodata(nodata)
    return open_labels(somewhere, options=options, classes=classes)
