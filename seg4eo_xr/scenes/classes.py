"""The class table: codes in rasters, names for people, colours on maps."""

from __future__ import annotations

import colorsys
import re
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from seg4eo_xr.html import Markup, card_html, chip_html, table_html

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import xarray as xr

# Okabe and Ito's palette, told apart by colour-blind readers, in an order that suits land cover.
_PALETTE = ("#009e73", "#e69f00", "#56b4e9", "#d55e00", "#f0e442", "#0072b2", "#cc79a7", "#999999")
_BACKGROUND = "#d9d9d9"
_GOLDEN_ANGLE = 0.618033988749895
# Further colours: first hue, darkest and lightest, step of lightness, and the two saturations. Of
# these numbers the first 40 colours are no nearer to each other than the palette's own.
_HUE, _LIGHTNESS, _LIGHTNESS_STEP, _SATURATION = 0.7, (0.2, 0.77), 0.587, (0.78, 0.4)
_CODES = np.iinfo(np.int16)
_HEX_COLOR = re.compile(r"#[0-9a-f]{6}")

CLASS_ATTRS = ("flag_values", "flag_meanings", "flag_colors", "class_names")
"""Attributes of an array that tell its classes; see `ClassTable.to_attrs`."""


@dataclass(frozen=True)
class ClassTable:
    """Classes of labels and maps, in the order of a network's outputs.

    Parameters
    ----------
    codes
        The numbers that stand for the classes in label rasters and maps: whole numbers of 16 bits,
        ascending.
    names
        One name a class.
    colors
        One colour a class, as ``#rrggbb``.

    Examples
    --------
    >>> table = ClassTable.from_codes([10, 20, 80], names=["trees", "shrub", "water"])
    >>> table.encode(np.array([[10, 80], [20, 255]]), ignore=255)
    array([[  0,   2],
           [  1, 255]], dtype=uint8)
    """

    codes: tuple[int, ...]
    names: tuple[str, ...]
    colors: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.codes:
            raise ValueError("a class table needs at least one class")
        if len(self.codes) > 255:
            raise ValueError(f"a network tells at most 255 classes apart, got {len(self.codes)}")
        if list(self.codes) != sorted(set(self.codes)):
            raise ValueError(f"class codes must ascend and differ, got {self.codes}")
        if self.codes[0] < _CODES.min or self.codes[-1] > _CODES.max:
            raise ValueError(
                f"class codes lie in {_CODES.min}..{_CODES.max} (16 bits), got {self.codes[0]}.."
                f"{self.codes[-1]}; renumber the classes"
            )
        if not len(self.codes) == len(self.names) == len(self.colors):
            raise ValueError(
                f"{len(self.codes)} codes, {len(self.names)} names and {len(self.colors)} colours: "
                "give one name and one colour a class"
            )
        for name in self.names:
            if not name.strip() or ";" in name or name != name.strip():
                raise ValueError(
                    f"a class name is a text without ';' and outer blanks, got {name!r}"
                )
        if len(set(self.names)) < len(self.names):
            name, codes = next(iter(_repeated(self.codes, self.names).items()))
            raise ValueError(
                f"the class name {name!r} stands for the codes {codes}; give each its own name, or "
                "first bring their pixels together under one code (reclassify)"
            )
        for color in self.colors:
            if not _HEX_COLOR.fullmatch(color):
                raise ValueError(f"colours are written '#rrggbb' in lower case, got {color!r}")

    def __len__(self) -> int:
        return len(self.codes)

    def _repr_html_(self) -> str:
        return card_html("classes", len(self), self.to_html())

    def to_html(self) -> Markup:
        """Make a table of names and codes, with a chip of each colour."""
        chips = map(chip_html, self.colors, self.names)
        return table_html(("class", "code"), list(zip(chips, self.codes, strict=True)))

    @classmethod
    def from_codes(
        cls,
        codes: Sequence[int],
        names: Sequence[str] | None = None,
        colors: Sequence[str] | None = None,
    ) -> ClassTable:
        """Make a table from codes; without names it says ``class <code>``, colours are ours."""
        codes = tuple(int(code) for code in codes)
        names = [f"class {code}" for code in codes] if names is None else names
        if colors is None:
            colors = [
                _BACKGROUND if name == "background" else default_color(index)
                for index, name in enumerate(names)
            ]
        return cls(codes, tuple(names), tuple(color.lower() for color in colors))

    @property
    def code_of(self) -> dict[str, int]:
        """Code of each class, by name."""
        return dict(zip(self.names, self.codes, strict=True))

    def without(self, codes: Iterable[int]) -> ClassTable:
        """Drop the classes of some codes, as those that mean "no label".

        Examples
        --------
        >>> ClassTable.from_codes([0, 1, 2]).without([0, 9]).codes
        (1, 2)
        """
        dropped = set(codes)
        kept = [i for i, code in enumerate(self.codes) if code not in dropped]
        rows = (self.codes, self.names, self.colors)
        return ClassTable(*(tuple(row[i] for i in kept) for row in rows))  # type: ignore[arg-type]

    def encode(self, labels: np.ndarray, ignore: int) -> np.ndarray:
        """Turn label codes into class indices.

        Parameters
        ----------
        labels
            Integer codes of any shape.
        ignore
            Code of unlabelled pixels; they become 255.

        Returns
        -------
        ndarray of uint8
            Index into the table, or 255.

        Raises
        ------
        ValueError
            If a code is neither in the table nor `ignore`.
        """
        found, inverse = np.unique(labels, return_inverse=True)
        position = {code: index for index, code in enumerate(self.codes)} | {ignore: 255}
        unknown = [int(code) for code in found if int(code) not in position]
        if unknown:
            raise ValueError(
                f"labels hold the class codes {unknown}, which are not in the class table "
                f'{list(self.codes)}; add them to the table, or say that they mean "no label" with '
                "unlabelled= (--unlabelled)"
            )
        indices = np.array([position[int(code)] for code in found], np.uint8)
        return indices[inverse].reshape(labels.shape)

    def to_dict(self) -> dict[str, list[Any]]:
        """Plain lists, fit for JSON and for a checkpoint."""
        return {"codes": list(self.codes), "names": list(self.names), "colors": list(self.colors)}

    @classmethod
    def from_dict(cls, mapping: Mapping[str, Sequence[Any]]) -> ClassTable:
        """Rebuild a table from what `to_dict` gave.

        A name that an older version let stand for several codes gets these behind it.
        """
        names = told_apart(mapping["codes"], mapping["names"])
        return cls.from_codes(mapping["codes"], names, mapping["colors"])

    def to_attrs(self) -> dict[str, Any]:
        """Attributes by the CF conventions: ``flag_values``, ``flag_meanings`` and colours.

        Meanings are separated by blanks there, so blanks in a name become underscores; the names as
        people wrote them stand in ``class_names``, separated by semicolons: a text, which every
        format can hold.
        """
        return {
            "flag_values": list(self.codes),
            "flag_meanings": " ".join(re.sub(r"\s+", "_", name.strip()) for name in self.names),
            "flag_colors": " ".join(self.colors),
            "class_names": "; ".join(self.names),
        }

    @classmethod
    def from_attrs(cls, attrs: Mapping[str, Any]) -> ClassTable | None:
        """Read the table from attributes that `to_attrs` or another CF writer left, if any.

        A name that stands for several codes gets these behind it, as ``not used (3)``.
        """
        if "flag_values" not in attrs:
            return None
        values = attrs["flag_values"]
        if isinstance(values, str):  # the tags of a GeoTIFF are texts
            values = [int(number) for number in re.findall(r"-?\d+", values)]
        codes = [int(code) for code in np.atleast_1d(values)]
        names = None
        if "class_names" in attrs:
            names = [name.strip() for name in str(attrs["class_names"]).split(";")]
        elif "flag_meanings" in attrs:
            names = str(attrs["flag_meanings"]).split()
        colors = str(attrs["flag_colors"]).split() if "flag_colors" in attrs else None
        names = None if names is None else told_apart(codes, names)
        return cls.from_codes(codes, names, colors)

    def rgb(self) -> np.ndarray:
        """Colours as numbers, ``(class, 3)`` uint8."""
        return np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in self.colors], np.uint8)


def told_apart(codes: Sequence[int], names: Sequence[str]) -> list[str]:
    """Names of classes, with the code behind those that stand for several.

    Examples
    --------
    >>> told_apart([0, 1, 2], ["water", "not used", "not used"])
    ['water', 'not used (1)', 'not used (2)']
    """
    repeated = _repeated(codes, names)
    return (
        [
            f"{name} ({code})" if name in repeated else name
            for code, name in zip(codes, names, strict=False)  # the table says where one is missing
        ]
        + list(names[len(codes) :])
    )


def _repeated(codes: Sequence[int], names: Sequence[str]) -> dict[str, list[int]]:
    """Codes of each name that stands for several."""
    codes_of: dict[str, list[int]] = {}
    for code, name in zip(codes, names, strict=False):
        codes_of.setdefault(name, []).append(int(code))
    return {name: found for name, found in codes_of.items() if len(found) > 1}


def class_name(text: str) -> str:
    """Name of a class as tables hold it: without outer blanks, and with commas for semicolons.

    An accent is part of its letter, however the text was typed.
    """
    return unicodedata.normalize("NFC", text).strip().replace(";", ",")


def holds_classes(array: xr.DataArray) -> bool:
    """Whether an array is labels or the classes of a map: a plane whose attributes name classes."""
    return array.ndim == 2 and "flag_values" in array.attrs


def require_scene(array: xr.DataArray, what: str) -> None:
    """Raise ValueError where labels or a map stand for a scene.

    Parameters
    ----------
    array
        What was given.
    what
        What the error message calls it.
    """
    if holds_classes(array):
        raise ValueError(
            f"{what} holds class codes, as labels and maps do ({array.attrs['flag_values']}), but "
            "a scene is wanted; give the scene that they belong to"
        )


def default_color(index: int) -> str:
    """Colour of the class at `index`: a palette of eight, then hues a golden angle apart.

    Those differ in lightness and saturation too; the first 40 can be told apart.

    Examples
    --------
    >>> default_color(0)
    '#009e73'
    """
    if index < len(_PALETTE):
        return _PALETTE[index]
    further = index - len(_PALETTE)
    lightness = np.interp(further * _LIGHTNESS_STEP % 1, (0, 1), _LIGHTNESS)
    hue = (_HUE + further * _GOLDEN_ANGLE) % 1
    red, green, blue = colorsys.hls_to_rgb(hue, float(lightness), _SATURATION[further % 2])
    return f"#{round(red * 255):02x}{round(green * 255):02x}{round(blue * 255):02x}"
