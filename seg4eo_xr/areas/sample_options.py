"""The options of samples and of what is estimated from them, for Python and the command line."""

from __future__ import annotations

# the command line is made of the annotations
from collections.abc import Mapping  # noqa: TC003
from dataclasses import dataclass, field
from typing import Literal, get_args

from seg4eo_xr.notices import Seg4EOWarning
from seg4eo_xr.options import OptionSet, require_choice

Allocation = Literal["proportional", "equal", "optimal"]
DrawnBy = Literal["pixel", "area"]


class SampleWarning(Seg4EOWarning):
    """Something about a sample is odd, and it can be used all the same."""


@dataclass(frozen=True)
class SampleOptions(OptionSet):
    """How many points a sample has, and how they are shared among the strata."""

    size: int | None = None
    """Points in all; as many as the standard error asks for if not given."""
    standard_error: float = 0.02
    """Standard error of the overall accuracy that a sample without a given size aims at."""
    allocation: Allocation = "proportional"
    """Points in proportion to the strata's areas, equally many in each, or more where more errors
    are expected (Neyman)."""
    minimum: int = 50
    """Fewest points of a stratum, so that rare classes are judged too; all of its pixels where it
    has fewer."""
    accuracy: float = 0.85
    """Share of a stratum's points where the map is expected to be right."""
    accuracies: Mapping[str, float] = field(default_factory=dict)
    """The same for strata of their own, by name: forest 0.95 water 0.9."""
    seed: int = 0
    """Another seed draws other points."""

    def __post_init__(self) -> None:
        require_choice("allocation", self.allocation, get_args(Allocation))
        if self.size is not None and self.size < 2:
            raise ValueError(f"size must be at least 2, got {self.size}")
        if not 0 < self.standard_error < 0.5:
            raise ValueError(
                f"standard_error is a share between 0 and 0.5, as 0.02, got {self.standard_error}"
            )
        if self.minimum < 2:
            raise ValueError(
                f"minimum must be at least 2, got {self.minimum}: of a single point a stratum "
                "there is no standard error"
            )
        if self.seed < 0:
            raise ValueError(f"seed must be 0 or more, got {self.seed}")
        for name, share in {"accuracy": self.accuracy, **self.accuracies}.items():
            if not 0 <= share <= 1:
                raise ValueError(f"{name}: an accuracy lies between 0 and 1, got {share}")


@dataclass(frozen=True)
class AreaOptions(OptionSet):
    """How areas and accuracies are estimated from a sample."""

    level: float = 0.95
    """Confidence of the intervals."""
    finite_population: bool = False
    """Count what is not sampled alone as uncertain: variances × (1 − points / pixels). It matters
    where a large part of a stratum is sampled."""
    drop_unfilled: bool = False
    """Leave out points without a reference class, as if they had never been drawn; otherwise they
    are an error. Those that are hard to tell must not be the ones left out."""

    def __post_init__(self) -> None:
        if not 0 < self.level < 1:
            raise ValueError(f"level lies between 0 and 1, as 0.95, got {self.level}")
