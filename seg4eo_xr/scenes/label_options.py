"""The options of labels, for the Python API and the command line alike."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from seg4eo_xr.notices import Seg4EOWarning
from seg4eo_xr.options import OptionSet, require_choice
from seg4eo_xr.scenes.classes import class_name

if TYPE_CHECKING:
    from collections.abc import Mapping

Overlap = Literal["last", "first", "smallest", "largest"]
WarpResampling = Literal["nearest", "mode"]

_CODES = np.iinfo(np.int16)


class LabelWarning(Seg4EOWarning):
    """Labels were mended or hold something odd, and can be used all the same."""


@dataclass(frozen=True)
class LabelOptions(OptionSet):
    """How labels become class codes on a scene's pixels."""

    column: str | None = None
    """Column of vector labels that holds the class, as numbers or names; all features are of one
    class if not given. Features without a value are unlabelled, whatever the background is."""
    background: int | None = None
    """Code of pixels outside all features; 0 without a column, else the ignored code, if not
    given."""
    ignore: int | None = None
    """Code of unlabelled pixels, in the source and in the labels; the raster's own nodata value
    becomes it too. If not given, only the raster's nodata value means "no label" in it; unlabelled
    pixels have this value, else 255, or where 255 is a class a code that no class has."""
    layer: str | None = None
    """Layer of the vector file; the first if not given."""
    encoding: str | None = None
    """Encoding of the texts of a shapefile, such as cp1252; the one that it states if not given."""
    unlabelled: tuple[int | str, ...] = ()
    """Further codes, or names of classes, that mean "no label", such as 0 in sparse masks."""
    all_touched: bool = False
    """Burn every pixel that a feature touches, and not only those whose centre lies inside."""
    overlap: Overlap = "last"
    """Which of overlapping features lies on top: the last or first of the file, or the smallest or
    largest."""
    order_by: str | None = None
    """Column of vector labels that orders overlapping features, the greatest value on top; overlap
    decides between equal ones."""
    ignore_border: int = 0
    """Pixels within this distance of another class become the ignored code, on both sides; in
    pixels, in all eight directions."""
    warp: bool = False
    """Warp rasters of another CRS, resolution or extent onto the scene; otherwise a mismatch is an
    error."""
    warp_resampling: WarpResampling = "nearest"
    """How rasters are warped: the nearest pixel, or the most frequent class within a pixel."""

    def __post_init__(self) -> None:
        for name in ("ignore", "background"):
            value = getattr(self, name)
            if value is not None and not _CODES.min <= value <= _CODES.max:
                raise ValueError(
                    f"{name} must lie in {_CODES.min}..{_CODES.max} (16 bits), got {value}"
                )
        object.__setattr__(self, "unlabelled", tuple(map(_code_or_name, self.unlabelled)))
        if self.ignore_border < 0:
            raise ValueError(f"ignore_border counts pixels, from 0 on, got {self.ignore_border}")
        require_choice("overlap", self.overlap, get_args(Overlap))
        require_choice("warp_resampling", self.warp_resampling, get_args(WarpResampling))

    @property
    def no_label(self) -> frozenset[int]:
        """Every code that is said to stand for no class.

        Raises
        ------
        ValueError
            If names of classes are among them: their codes are for `with_codes` to give.
        """
        coded = self.with_codes({}, "the labels")
        stated = () if self.ignore is None else (self.ignore,)
        return frozenset({*stated, *(int(code) for code in coded.unlabelled)})

    def with_codes(self, code_of: Mapping[str, int], what: str) -> LabelOptions:
        """Put codes for the names in ``unlabelled``.

        Parameters
        ----------
        code_of
            Code of each class, by name.
        what
            What error messages call the labels.

        Raises
        ------
        ValueError
            If there is no such class.
        """
        # in capitals or not, where the name is not written so
        found = {name.casefold(): code for name, code in code_of.items()}
        found |= code_of
        named = [name for name in self.unlabelled if isinstance(name, str)]
        names = {name: name if name in found else name.casefold() for name in named}
        unknown = [name for name, key in names.items() if key not in found]
        if unknown:
            known = f"only the classes {sorted(code_of)}" if code_of else "no class table"
            raise ValueError(
                f"unlabelled (--unlabelled) names {unknown}, but {what} have {known}; name "
                "one of the classes or its code, or give the names with classes= (--classes)"
            )
        codes = (found[names[code]] if isinstance(code, str) else code for code in self.unlabelled)
        return replace(self, unlabelled=tuple(codes))


def _code_or_name(given: object) -> int | str:
    """Name of a class, or a code, which the command line may hand over as text."""
    if isinstance(given, str) and not re.fullmatch(r"\s*[+-]?\d+\s*", given):
        return class_name(given)
    return int(given)  # type: ignore[call-overload,no-any-return]
