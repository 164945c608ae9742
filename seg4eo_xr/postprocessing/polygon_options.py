"""How a map becomes polygons."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite

from seg4eo_xr.options import OptionSet

# Sums of more pixels than that of a tile are not exact in float64.
_LARGEST_TILE = 4096


@dataclass(frozen=True)
class PolygonOptions(OptionSet):
    """How a map becomes polygons.

    Parameters
    ----------
    min_pixels
        Minimum mapping unit: smaller components first go to their largest neighbour, as `sieve`
        does it; 1 keeps all.
    simplify
        Tolerance in pixels by which outlines may leave the pixels' sides: the square root of the
        largest triangle that is cut off or filled in. Borders stay shared, without gaps or
        overlaps. 0 keeps the outlines of the pixels.
    tile_size
        Side of the tiles that are outlined in parallel, in pixels. Outlines that are simplified
        keep their vertices on the borders of tiles; else the result does not depend on it.
    """

    min_pixels: int = 1
    simplify: float = 0.0
    tile_size: int = 2048

    def __post_init__(self) -> None:
        require_min_pixels(self.min_pixels)
        if not (isfinite(self.simplify) and self.simplify >= 0):
            raise ValueError(f"simplify must be 0 or more pixels, got {self.simplify}")
        if not 1 <= self.tile_size <= _LARGEST_TILE:
            raise ValueError(
                f"tile_size must lie in 1..{_LARGEST_TILE} pixels, got {self.tile_size}"
            )


def require_min_pixels(min_pixels: int) -> None:
    """Raise ValueError unless a minimum mapping unit is a positive number of pixels."""
    if min_pixels < 1:
        raise ValueError(f"min_pixels must be 1 or more, got {min_pixels}")
