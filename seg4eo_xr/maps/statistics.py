"""How much of each class a map holds, on the ground, and how sure the network was.

Figures of blocks are whole numbers, so that they add up to the same bits in whatever order the
blocks are finished.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import reduce
from typing import TYPE_CHECKING, Any

from seg4eo_xr.geometry.blending import FIXED_POINT
from seg4eo_xr.html import amount_text, card_html, lines_html, table_html, table_text, with_chips
from seg4eo_xr.maps.counting import (
    ConfidenceSums,
    added,
    class_indices,
    count_pixels,
    no_confidence,
    sum_confidence,
)
from seg4eo_xr.scenes.classes import ClassTable
from seg4eo_xr.scenes.pixel_areas import AREA_UNITS
from seg4eo_xr.staging import write_report

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from os import PathLike
    from pathlib import Path

    import numpy as np

    from seg4eo_xr.scenes.pixel_areas import PixelAreas

# Rows that are counted together: few enough to stay in a processor's cache.
_ROWS = 128


@dataclass(frozen=True, repr=False)
class MapStatistics:
    """Pixels, areas and confidence of a map or of a part of one.

    Parameters
    ----------
    classes
        The classes.
    pixels
        Pixels a class.
    areas
        Ground area a class, in whole square micrometres (see `PixelAreas`).
    missing
        Pixels that are nodata; they count for nothing else.
    confidence
        None where the map has no such layer.

    Examples
    --------
    >>> import numpy as np
    >>> from affine import Affine
    >>> from seg4eo_xr.scenes.pixel_areas import PixelAreas
    >>> from seg4eo_xr.scenes.resampling import Grid
    >>> grid = Grid("EPSG:3035", Affine(10, 0, 4e6, 0, -10, 3e6), 2, 3)
    >>> layers = {"classes": np.array([[1, 1, 2], [2, 1, 255]], np.uint8)}
    >>> table = ClassTable.from_codes([1, 2], ["forest", "water"])
    >>> print(MapStatistics.of_block(layers, table, 255, PixelAreas(grid)))
    class   pixels   share     km²    ha
    forest       3  60.00%  0.0003  0.03
    water        2  40.00%  0.0002  0.02
    0.0005 km² in 5 pixels, 1 of nodata
    """

    classes: ClassTable
    pixels: tuple[int, ...]
    areas: tuple[int, ...]
    missing: int
    confidence: ConfidenceSums | None = None

    @classmethod
    def of_block(
        cls,
        layers: Mapping[str, np.ndarray],
        classes: ClassTable,
        nodata: int | None,
        areas: PixelAreas,
        origin: tuple[int, int] = (0, 0),
    ) -> MapStatistics:
        """Count a finished block of a map.

        Parameters
        ----------
        layers
            ``classes``, codes ``(y, x)``, and if there is one ``confidence``, float32 ``(y, x)``;
            others are ignored.
        classes
            The classes of the map.
        nodata
            Code of missing pixels.
        areas
            What the pixels of the whole map cover.
        origin
            Row and column of the block in the map.

        Returns
        -------
        MapStatistics

        Raises
        ------
        ValueError
            If a code is neither in `classes` nor `nodata`.
        """
        codes, confidence = layers["classes"], layers.get("confidence")
        counts: list[int] = [0] * (len(classes) + 1)
        ground: list[int] = [0] * len(classes)
        sums = None if confidence is None else no_confidence(len(classes))
        for first in range(0, codes.shape[0], _ROWS):
            part = codes[first : first + _ROWS]
            indices = class_indices(part, classes, nodata)
            rows = (origin[0] + first, origin[0] + first + len(part))
            columns = (origin[1], origin[1] + part.shape[1])
            by_cell, covered = count_pixels(indices, areas.block(rows, columns), len(classes) + 1)
            counts = [a + b for a, b in zip(counts, by_cell, strict=True)]
            ground = [a + b for a, b in zip(ground, covered, strict=False)]
            if sums is not None and confidence is not None:
                sums += sum_confidence(confidence[first : first + _ROWS], indices, len(classes))
        return cls(classes, tuple(counts[:-1]), tuple(ground), counts[-1], sums)

    def merge(self, *others: MapStatistics) -> MapStatistics:
        """Add the figures of other parts of the same map; the order does not matter.

        Raises
        ------
        ValueError
            If the classes differ.
        """
        return reduce(_merged, others, self)

    def to_dict(self) -> dict[str, Any]:
        """All sums as plain numbers, fit for JSON; `from_dict` reads them."""
        confidence = self.confidence
        return {
            "classes": self.classes.to_dict(),
            "pixels": list(self.pixels),
            "areas": list(self.areas),
            "missing": self.missing,
            "confidence": confidence and {**vars(confidence), "totals": list(confidence.totals)},
        }

    @classmethod
    def from_dict(cls, mapping: Mapping[str, Any]) -> MapStatistics:
        """Rebuild from what `to_dict` gave, exactly."""
        sums = mapping["confidence"]
        return cls(
            ClassTable.from_dict(mapping["classes"]),
            tuple(mapping["pixels"]),
            tuple(mapping["areas"]),
            mapping["missing"],
            sums and ConfidenceSums(**{**sums, "totals": tuple(sums["totals"])}),
        )

    @property
    def shares(self) -> tuple[float, ...]:
        """Share of each class in the area that holds data; 0 where there is none."""
        return tuple(area / max(1, sum(self.areas)) for area in self.areas)

    def report(self) -> dict[str, Any]:
        """Figures to read: pixels, shares, km² and ha by class, and the confidence.

        Returns
        -------
        dict
            Fit for JSON; a mean of no pixels is None.
        """
        pixels, sums = sum(self.pixels), self.confidence
        totals: Sequence[int | None] = [None] * len(self.classes) if sums is None else sums.totals
        table = self.classes
        columns = zip(
            table.codes, table.names, self.pixels, self.areas, self.shares, totals, strict=True
        )
        report: dict[str, Any] = {
            "pixels": pixels,
            "missing_pixels": self.missing,
            "area_km2": sum(self.areas) / AREA_UNITS / 1e6,
            "classes": [
                {
                    "code": code,
                    "name": name,
                    "pixels": count,
                    "share": share,
                    "area_km2": area / AREA_UNITS / 1e6,
                    "area_ha": area / AREA_UNITS / 1e4,
                    "mean_confidence": _mean(total, count),
                }
                for code, name, count, area, share, total in columns
            ],
        }
        if sums is not None:
            report["confidence"] = {
                "mean": _mean(sum(sums.totals), pixels),
                "minimum": sums.lowest / FIXED_POINT if pixels else None,
                "maximum": sums.highest / FIXED_POINT if pixels else None,
                "share_below_0.5": sums.unsure / pixels if pixels else None,
                "share_above_0.8": sums.sure / pixels if pixels else None,
            }
        return report

    def to_json(self, path: str | PathLike[str]) -> Path:
        """Write `report` as a JSON file, replacing what stands there."""
        return write_report(self.report(), path)

    def _table(self) -> tuple[list[str], list[list[str]]]:
        head = ["class", "pixels", "share", "km²", "ha"]
        report = self.report()
        rows = [
            [
                row["name"],
                f"{row['pixels']:,}",
                f"{row['share']:.2%}",
                amount_text(row["area_km2"]),
                amount_text(row["area_ha"]),
                *([] if self.confidence is None else [amount_text(row["mean_confidence"])]),
            ]
            for row in report["classes"]
        ]
        return head + ([] if self.confidence is None else ["confidence"]), rows

    def _facts(self) -> list[str]:
        report = self.report()
        facts = [f"{amount_text(report['area_km2'])} km² in {report['pixels']:,} pixels"]
        if self.missing:
            facts[0] += f", {self.missing:,} of nodata"
        if self.confidence is not None and report["pixels"]:
            sure = report["confidence"]
            facts.append(
                f"confidence {sure['mean']:.3f} in the mean, {sure['minimum']:.3f} to "
                f"{sure['maximum']:.3f}; below 0.5 on {sure['share_below_0.5']:.2%}, above 0.8 on "
                f"{sure['share_above_0.8']:.2%} of the pixels"
            )
        return facts

    def __repr__(self) -> str:
        return "\n".join([table_text(*self._table()), *self._facts()])

    def _repr_html_(self) -> str:
        head, rows = self._table()
        whole, *confidence = self._facts()
        table = table_html(head, with_chips(self.classes.colors, rows))
        return card_html("map statistics", whole, table, lines_html(confidence))


def _mean(total: int | None, count: int) -> float | None:
    return None if total is None or not count else total / FIXED_POINT / count


def _merged(a: MapStatistics, b: MapStatistics) -> MapStatistics:
    if a.classes != b.classes:
        raise ValueError(
            f"statistics of the classes {a.classes.names} and {b.classes.names} do not add up; "
            "merge parts of one map"
        )
    both = (a.confidence, b.confidence)
    return replace(
        a,
        pixels=added(a.pixels, b.pixels),
        areas=added(a.areas, b.areas),
        missing=a.missing + b.missing,
        confidence=None if both[0] is None or both[1] is None else both[0] + both[1],
    )
