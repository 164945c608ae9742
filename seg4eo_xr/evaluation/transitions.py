"""What became of each class between two maps, as text, HTML and JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from seg4eo_xr.html import (
    amount_text,
    card_html,
    details_html,
    lines_html,
    table_html,
    table_text,
    with_chips,
)
from seg4eo_xr.scenes.pixel_areas import AREA_UNITS
from seg4eo_xr.staging import write_report

if TYPE_CHECKING:
    from os import PathLike
    from pathlib import Path

    from seg4eo_xr.scenes.classes import ClassTable

_LARGEST_TOLD = 10


@dataclass(frozen=True, eq=False, repr=False)
class MapChange:
    """Pixels and areas of each transition between two maps.

    Parameters
    ----------
    classes
        The classes of both maps.
    pixels
        ``(class, class)`` int64: a row for each class before, a column for each class after.
    areas
        Ground areas in the same form: Python integers, whole square micrometres (see `PixelAreas`).
    missing
        Pixels that are nodata in one map or both; they count for nothing else.

    Examples
    --------
    >>> from seg4eo_xr.scenes.classes import ClassTable
    >>> table = ClassTable.from_codes([1, 2], ["forest", "water"])
    >>> pixels = np.array([[6, 1], [0, 3]])
    >>> MapChange(table, pixels, pixels.astype(object) * 10**18, 0)
    class   before km²  after km²  loss  gain  net  net ha  net px
    forest           7          6     1     0   -1    -100      -1
    water            3          4     0     1    1     100       1
    1 km² of 10 km² changed (10.00%)
    forest → water: 1 km²
    """

    classes: ClassTable
    pixels: np.ndarray
    areas: np.ndarray
    missing: int

    @property
    def km2(self) -> np.ndarray:
        """Areas in km², ``(class, class)`` float64."""
        return self._in_km2(self.areas)

    @property
    def before(self) -> np.ndarray:
        """Area of each class before, km², ``(class,)`` float64."""
        return self._in_km2(self.areas.sum(1))

    @property
    def after(self) -> np.ndarray:
        """Area of each class after, km², ``(class,)`` float64."""
        return self._in_km2(self.areas.sum(0))

    @property
    def losses(self) -> np.ndarray:
        """Area of each class that became another, km², ``(class,)`` float64."""
        return self._in_km2(self.areas.sum(1) - np.diag(self.areas))

    @property
    def gains(self) -> np.ndarray:
        """Area of each class that was another, km², ``(class,)`` float64."""
        return self._in_km2(self.areas.sum(0) - np.diag(self.areas))

    @property
    def changed(self) -> float:
        """Share of the area that both maps know whose class differs."""
        whole = int(self.areas.sum())
        return (whole - int(np.trace(self.areas))) / whole if whole else float("nan")

    @staticmethod
    def _in_km2(areas: np.ndarray) -> np.ndarray:
        return np.asarray(areas / (AREA_UNITS * 10**6), np.float64)

    def transitions(self) -> list[tuple[str, str, float]]:
        """Class before, class after and km² of each pair that occurs, the largest first."""
        names = self.classes.names
        found = [
            (names[row], names[column], float(area))
            for (row, column), area in np.ndenumerate(self.km2)
            if row != column and self.pixels[row, column]
        ]
        return sorted(found, key=lambda transition: -transition[2])

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, fit for JSON; matrices have a row for each class before."""
        figures = zip(
            self.classes.codes,
            self.classes.names,
            self.before.tolist(),
            self.after.tolist(),
            self.losses.tolist(),
            self.gains.tolist(),
            strict=True,
        )
        return {
            "pixels": int(self.pixels.sum()),
            "missing_pixels": self.missing,
            "area_km2": float(self.before.sum()),
            "changed_share": self.changed,
            "classes": [
                {
                    "code": code,
                    "name": name,
                    "before_km2": before,
                    "after_km2": after,
                    "loss_km2": loss,
                    "gain_km2": gain,
                    "net_km2": gain - loss,
                }
                for code, name, before, after, loss, gain in figures
            ],
            "transition_pixels": self.pixels.tolist(),
            "transition_km2": self.km2.tolist(),
        }

    def to_json(self, path: str | PathLike[str]) -> Path:
        """Write `to_dict` as a JSON file, replacing what stands there."""
        return write_report(self.to_dict(), path)

    def _table(self) -> tuple[list[str], list[list[str]]]:
        net = self.gains - self.losses
        columns = self.before, self.after, self.losses, self.gains, net, 100 * net
        pixels = self.pixels.sum(0) - self.pixels.sum(1)
        rows = [
            [name, *map(amount_text, numbers), f"{count:,}"]
            for name, *numbers, count in zip(self.classes.names, *columns, pixels, strict=True)
        ]
        head = ["class", "before km²", "after km²", "loss", "gain", "net", "net ha", "net px"]
        return head, rows

    def _facts(self) -> list[str]:
        whole, changed = float(self.before.sum()), float(self.losses.sum())
        facts = [
            f"{amount_text(changed)} km² of {amount_text(whole)} km² changed ({self.changed:.2%})"
        ]
        if self.missing:
            facts[0] += f"; {self.missing:,} pixels of nodata do not count"
        transitions = self.transitions()
        facts += [f"{a} → {b}: {amount_text(km2)} km²" for a, b, km2 in transitions[:_LARGEST_TOLD]]
        if len(transitions) > _LARGEST_TOLD:
            rest = sum(km2 for *_, km2 in transitions[_LARGEST_TOLD:])
            facts.append(
                f"{len(transitions) - _LARGEST_TOLD} smaller ones: {amount_text(rest)} km²"
            )
        return facts

    def __repr__(self) -> str:
        return "\n".join([table_text(*self._table()), *self._facts()])

    def _repr_html_(self) -> str:
        head, rows = self._table()
        matrix = [
            [name, *map(amount_text, areas)]
            for name, areas in zip(self.classes.names, self.km2.tolist(), strict=True)
        ]
        folded = table_html(["before \\ after, km²", *self.classes.names], matrix)
        return card_html(
            "change",
            f"{self.changed:.2%} of the area",
            table_html(head, with_chips(self.classes.colors, rows)),
            lines_html(self._facts()),
            details_html("transition matrix", folded),
        )
