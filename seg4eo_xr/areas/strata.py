"""The strata of a sample: parts of a map, and how much each of them weighs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray


@dataclass(frozen=True)
class Strata:
    """Parts into which a map is divided without gaps, such as its classes.

    Parameters
    ----------
    codes
        Number of each stratum, ascending.
    names
        One name a stratum.
    pixels
        Pixels of each stratum.
    areas
        Ground area of each stratum in m², or None where the size of a pixel is not known.

    Examples
    --------
    >>> Strata((1, 2), ("forest", "water"), (300, 100), (30_000.0, 10_000.0)).weights
    array([0.75, 0.25])
    """

    codes: tuple[int, ...]
    names: tuple[str, ...]
    pixels: tuple[int, ...]
    areas: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if not self.codes:
            raise ValueError("there is no stratum; give at least one")
        if list(self.codes) != sorted(set(self.codes)):
            raise ValueError(f"codes of strata must ascend and differ, got {self.codes}")
        lengths = {len(self.names), len(self.pixels), len(self.areas or self.pixels)}
        if lengths != {len(self.codes)}:
            raise ValueError(
                f"{len(self.codes)} codes of strata, but {len(self.names)} names, "
                f"{len(self.pixels)} numbers of pixels and {len(self.areas or self.pixels)} areas; "
                "give one of each a stratum"
            )
        for name, size in zip(self.names, self.sizes, strict=True):
            if not (np.isfinite(size) and size >= 0):
                raise ValueError(f"stratum {name!r} has the size {size}; sizes are 0 or more")
        if not sum(self.sizes) or not sum(self.pixels):
            raise ValueError(
                f"all strata are empty: {', '.join(self.names)}; is everything nodata?"
            )

    def __len__(self) -> int:
        return len(self.codes)

    @classmethod
    def of_sizes(cls, sizes: Mapping[int, float], pixel_area: float | None = None) -> Strata:
        """Make strata from the pixels of each code; `pixel_area` is that of one pixel in m².

        Raises
        ------
        ValueError
            If a code or a number of pixels is not whole.
        """
        strange = {code: size for code, size in sizes.items() if code % 1 or size % 1}
        if strange:
            raise ValueError(
                f"strata holds the pixels of each code, whole numbers, got {strange}; of shares or "
                "areas make pixels first"
            )
        codes = tuple(sorted(int(code) for code in sizes))
        pixels = tuple(int(sizes[code]) for code in codes)
        areas = None if pixel_area is None else tuple(count * pixel_area for count in pixels)
        return cls(codes, tuple(f"stratum {code}" for code in codes), pixels, areas)

    @property
    def sizes(self) -> tuple[float, ...]:
        """What weighs: areas in m² where they are known, else pixels."""
        return self.pixels if self.areas is None else self.areas

    @property
    def weights(self) -> NDArray[np.float64]:
        """Share of each stratum in the whole, ``(stratum,)``; they sum to one."""
        sizes = np.array(self.sizes, np.float64)
        return np.asarray(sizes / sizes.sum())

    def take(self, kept: Sequence[int]) -> Strata:
        """Keep the strata at some positions."""
        areas = None if self.areas is None else tuple(self.areas[i] for i in kept)
        return Strata(
            tuple(self.codes[i] for i in kept),
            tuple(self.names[i] for i in kept),
            tuple(self.pixels[i] for i in kept),
            areas,
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain lists, fit for JSON and for the attributes of a table."""
        return {
            "codes": list(self.codes),
            "names": list(self.names),
            "pixels": list(self.pixels),
            "areas": None if self.areas is None else list(self.areas),
        }

    @classmethod
    def from_dict(cls, mapping: Mapping[str, Any]) -> Strata:
        """Rebuild from what `to_dict` gave."""
        areas = mapping["areas"]
        return cls(
            tuple(int(code) for code in mapping["codes"]),
            tuple(str(name) for name in mapping["names"]),
            tuple(int(count) for count in mapping["pixels"]),
            None if areas is None else tuple(float(area) for area in areas),
        )
