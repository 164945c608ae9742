"""Areas of classes and accuracies of a map with their errors: the object that reports them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from seg4eo_xr.areas.estimators import Estimate, SampleCounts, class_cells
from seg4eo_xr.html import card_html, lines_html, table_html, table_text, with_chips
from seg4eo_xr.staging import write_report

if TYPE_CHECKING:
    from os import PathLike
    from pathlib import Path

    import pandas as pd
    from numpy.typing import NDArray

    from seg4eo_xr.areas.sample_options import AreaOptions
    from seg4eo_xr.areas.strata import Strata
    from seg4eo_xr.scenes.classes import ClassTable

_HECTARE, _KM2 = 1e4, 1e6
# From so many hectares on areas are read in km².
_MANY_HECTARES = 1e7


@dataclass(frozen=True, eq=False, repr=False)
class AreaEstimate:
    """What a sample tells about a map: areas and accuracies with standard errors.

    Parameters
    ----------
    points
        Points of the sample, ``(stratum, map class, reference class)`` int64.
    strata
        What they were drawn from.
    classes
        The classes of map and reference.
    options
        Level of the intervals, and whether variances are corrected for what was sampled.
    sums
        Where points of a stratum stand for different areas: sums of these areas and of their
        squares, ``(2, stratum, map class, reference class)``, in units of the stratum's mean.
    """

    points: NDArray[np.int64]
    strata: Strata
    classes: ClassTable
    options: AreaOptions
    sums: NDArray[np.float64] | None = None

    @cached_property
    def _counts(self) -> SampleCounts:
        sizes, pixels = self.points.sum((1, 2)), np.array(self.strata.pixels, np.float64)
        left = 1 - sizes / pixels
        corrections = left if self.options.finite_population else np.ones(len(pixels))
        # of a stratum that is sampled as a whole all is known
        corrections = np.where(left <= 0, 0.0, corrections)
        points = self.points.astype(np.float64)
        sums = np.stack([points, points]) if self.sums is None else self.sums
        weights, level = self.strata.weights, self.options.level
        return SampleCounts(self.points, weights, corrections, level, sums)

    @cached_property
    def _cells(self) -> dict[str, NDArray[np.bool_]]:
        return class_cells(len(self.classes))

    @property
    def error_matrix(self) -> NDArray[np.float64]:
        """Estimated shares of the area, ``(map class, reference class)``; they sum to one."""
        return self._counts.proportions

    @cached_property
    def overall_accuracy(self) -> Estimate:
        """Share of the area where the map is right, ``(1,)``."""
        return self._counts.share_of(np.eye(len(self.classes), dtype=bool)[None])

    @cached_property
    def users_accuracy(self) -> Estimate:
        """Share of what the map shows as a class that is of it (precision), ``(class,)``."""
        return self._counts.ratio(self._cells["right"], self._cells["mapped"])

    @cached_property
    def producers_accuracy(self) -> Estimate:
        """Share of a class that the map shows as such (recall), ``(class,)``."""
        return self._counts.ratio(self._cells["right"], self._cells["found"])

    @cached_property
    def iou(self) -> Estimate:
        """Intersection over union of map and reference, by area, ``(class,)``."""
        return self._counts.ratio(
            self._cells["right"], self._cells["mapped"] | self._cells["found"]
        )

    @cached_property
    def share(self) -> Estimate:
        """Share of the area that is of each class, whatever the map says, ``(class,)``."""
        return self._counts.share_of(self._cells["found"])

    @cached_property
    def mapped_share(self) -> Estimate:
        """Share of the area that the map shows as each class; without error if these are strata."""
        return self._counts.share_of(self._cells["mapped"])

    @property
    def area(self) -> Estimate:
        """Area of each class in m², or in pixels where their size is not known, ``(class,)``."""
        return self.share * float(sum(self.strata.sizes))

    @property
    def mapped_area(self) -> Estimate:
        """Area that the map shows as each class, in the unit of `area`; ``(class,)``."""
        return self.mapped_share * float(sum(self.strata.sizes))

    @property
    def table(self) -> pd.DataFrame:
        """One row a class: each estimate and its standard error."""
        import pandas as pd

        columns: dict[str, Any] = {"code": self.classes.codes, "name": self.classes.names}
        for name, estimate in self._estimates().items():
            columns |= {name: estimate.value, f"{name}_standard_error": estimate.standard_error}
        return pd.DataFrame(columns)

    def _estimates(self) -> dict[str, Estimate]:
        suffix = "pixels" if self.strata.areas is None else "m2"
        return {
            f"mapped_area_{suffix}": self.mapped_area,
            f"area_{suffix}": self.area,
            "share": self.share,
            "users_accuracy": self.users_accuracy,
            "producers_accuracy": self.producers_accuracy,
            "iou": self.iou,
        }

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, fit for JSON: what cannot be estimated is None."""
        strata = self.strata.to_dict()
        return {
            "points": int(self.points.sum()),
            "level": self.options.level,
            "finite_population": self.options.finite_population,
            "overall_accuracy": self.overall_accuracy.to_dict(),
            "classes": [
                {"code": code, "name": name}
                | {key: number.to_dict(place) for key, number in self._estimates().items()}
                for place, (code, name) in enumerate(
                    zip(self.classes.codes, self.classes.names, strict=True)
                )
            ],
            "error_matrix": self.error_matrix.tolist(),
            "strata": strata | {"weights": self.strata.weights.tolist()},
            "points_by_stratum": self.points.tolist(),
        }

    def to_json(self, path: str | PathLike[str]) -> Path:
        """Write `to_dict` as a JSON file, replacing what stands there."""
        return write_report(self.to_dict(), path)

    def _rows(self) -> tuple[list[str], list[list[str]]]:
        factor, unit = self._unit()
        accuracies = (self.users_accuracy, self.producers_accuracy, self.iou)
        head = ["class", f"mapped {unit}", f"area {unit}", "user's", "producer's", "IoU"]
        rows = [
            [
                name,
                _number((self.mapped_area * factor).value[place], 0),
                _with_error(self.area * factor, place, 0),
                *(_with_error(accuracy, place, 3) for accuracy in accuracies),
            ]
            for place, name in enumerate(self.classes.names)
        ]
        return head, rows

    def _unit(self) -> tuple[float, str]:
        if self.strata.areas is None:
            return 1.0, "px"
        many = sum(self.strata.areas) > _MANY_HECTARES * _HECTARE
        return (1 / _KM2, "km²") if many else (1 / _HECTARE, "ha")

    def _facts(self) -> list[str]:
        overall = _with_error(self.overall_accuracy, 0, 3)
        return [
            f"overall accuracy {overall}; ± is the {self.options.level:.0%} interval".replace(
                "%", " %"
            ),
            f"{int(self.points.sum()):,} points in {len(self.strata)} strata",
        ]

    def __repr__(self) -> str:
        return "\n".join([table_text(*self._rows()), *self._facts()])

    def _repr_html_(self) -> str:
        head, rows = self._rows()
        overall, points = self._facts()
        table = table_html(head, with_chips(self.classes.colors, rows))
        return card_html("areas", points, table, lines_html([overall]))


def _number(number: float, digits: int) -> str:
    return "–" if np.isnan(number) else f"{number:,.{digits}f}"


def _with_error(estimate: Estimate, place: int, digits: int) -> str:
    value, width = estimate.value[place], estimate.half_width[place]
    return "–" if np.isnan(value) else f"{_number(value, digits)} ± {_number(width, digits)}"
