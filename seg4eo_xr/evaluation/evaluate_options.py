"""The options of an evaluation, for the Python API and the command line alike."""

from __future__ import annotations

from dataclasses import dataclass

from seg4eo_xr.scenes.label_options import LabelOptions


@dataclass(frozen=True)
class EvaluateOptions(LabelOptions):
    """How a map is held against a reference: how labels are read, and what is counted apart."""

    zone_column: str | None = None
    """Column of the zones that names them, several polygons of one name being one zone; if
    not given, the column name where there is one, else their positions, from 1."""
    border_widths: tuple[int, ...] = ()
    """Distances from borders of classes, in pixels, to tell boundary IoU and accuracy for."""

    def __post_init__(self) -> None:
        super().__post_init__()
        widths: object = self.border_widths
        if not isinstance(widths, tuple | list):
            raise TypeError(f"border_widths is a tuple of pixels, as (1, 3), got {widths!r}")
        if any(width < 1 for width in self.border_widths):
            raise ValueError(f"border_widths count pixels, from 1 on, got {self.border_widths}")
        object.__setattr__(self, "border_widths", tuple(sorted(set(self.border_widths))))
