"""How often a confidence is right: counts of pixels by confidence, and what follows from them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from seg4eo_xr.canvas import write_figure
from seg4eo_xr.html import card_html, lines_html, table_html, table_text
from seg4eo_xr.maps.counting import require_probabilities
from seg4eo_xr.options import require_choice
from seg4eo_xr.staging import write_report

if TYPE_CHECKING:
    from os import PathLike
    from pathlib import Path

    from matplotlib.figure import Figure

BinKind = Literal["width", "mass"]

STEPS = 1 << 16
"""Steps in which confidences are counted; a gap that follows from them is off by 10⁻⁵ at most."""

_BINS = 15


@dataclass(frozen=True, eq=False)
class ReliabilityBins:
    """Pixels in bins of confidence, from the least sure to the surest; empty bins are left out.

    Parameters
    ----------
    low, high
        Bounds of the bins, ``(bin,)`` float64.
    pixels
        ``(bin,)`` int64.
    confidence
        Mean confidence, ``(bin,)`` float64.
    accuracy
        Share of the pixels whose class is right, ``(bin,)`` float64.
    """

    low: np.ndarray
    high: np.ndarray
    pixels: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray

    @property
    def gap(self) -> np.ndarray:
        """Confidence less accuracy, ``(bin,)``: positive where the network is too sure."""
        return np.asarray(self.confidence - self.accuracy)


@dataclass(frozen=True, eq=False, repr=False)
class Reliability:
    """How often the class of a pixel is right, by the confidence that was stated.

    Parameters
    ----------
    counts
        Pixels whose class is wrong, and pixels whose class is right, by the step of their
        confidence: ``(2, STEPS + 1)`` int64, as `count_confidences` gives them.

    Examples
    --------
    >>> sure, right = np.full(10, 0.8), np.arange(10) < 8
    >>> result = Reliability(count_confidences(sure, right))
    >>> round(result.ece(), 4), result.accuracy
    (0.0, 0.8)
    """

    counts: np.ndarray

    @property
    def pixels(self) -> int:
        """Pixels that were compared."""
        return int(self.counts.sum())

    @property
    def accuracy(self) -> float:
        """Share of the pixels whose class is right; NaN where there is no pixel."""
        return float(self.counts[1].sum() / self.pixels) if self.pixels else math.nan

    @property
    def confidence(self) -> float:
        """Mean confidence; NaN where there is no pixel."""
        stated = self.counts.sum(0) @ np.arange(STEPS + 1)
        return float(stated / (STEPS * self.pixels)) if self.pixels else math.nan

    def bins(self, count: int = _BINS, kind: BinKind = "width") -> ReliabilityBins:
        """Put the pixels into bins.

        Parameters
        ----------
        count
            How many, empty ones counted.
        kind
            Bins of equal ``width``, or of equal ``mass``: as many pixels in each, as far as pixels
            of one confidence stay together.

        Raises
        ------
        ValueError
            If there is to be no bin, or `kind` is neither.
        """
        require_choice("kind", kind, get_args(BinKind))
        if not 1 <= count <= STEPS:
            raise ValueError(f"bins must be 1 to {STEPS}, got {count}")
        steps = np.arange(STEPS + 1)
        pixels = self.counts.sum(0)
        if kind == "width":
            # A confidence on a bound belongs to the bin below it, as in the paper.
            number = np.maximum(-(-steps * count // STEPS) - 1, 0)
        else:
            before = np.cumsum(pixels) - pixels
            number = np.minimum(before * count // max(1, self.pixels), count - 1)
        filled = np.unique(number[pixels > 0])
        sums = [
            np.bincount(number, weights, count)[filled]
            for weights in (pixels, pixels * steps, self.counts[1])
        ]
        edges = [np.flatnonzero((number == one) & (pixels > 0)) for one in filled]
        low = [float(found[0]) / STEPS for found in edges]
        high = [float(found[-1]) / STEPS for found in edges]
        if kind == "width":
            low, high = (filled / count).tolist(), ((filled + 1) / count).tolist()
        return ReliabilityBins(
            np.array(low),
            np.array(high),
            sums[0].astype(np.int64),
            sums[1] / (STEPS * sums[0]),
            sums[2] / sums[0],
        )

    def ece(self, bins: int = _BINS, kind: BinKind = "width") -> float:
        """Expected calibration error: mean distance of confidence and accuracy over the bins.

        Guo et al. 2017, https://arxiv.org/abs/1706.04599, equation 3; NaN where there is no pixel.
        """
        found = self.bins(bins, kind)
        return float(abs(found.gap) @ found.pixels / self.pixels) if self.pixels else math.nan

    def mce(self, bins: int = _BINS, kind: BinKind = "width") -> float:
        """Maximum calibration error: the largest distance in a bin, however few pixels it holds."""
        return float(abs(self.bins(bins, kind).gap).max(initial=0)) if self.pixels else math.nan

    @property
    def brier(self) -> float:
        """Mean squared distance of the confidence from 1 where the class is right, else from 0."""
        if not self.pixels:
            return math.nan
        stated = np.arange(STEPS + 1) / STEPS
        return float(
            (self.counts[0] @ stated**2 + self.counts[1] @ (1 - stated) ** 2) / self.pixels
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, fit for JSON: what does not exist is None."""
        numbers = {
            "accuracy": self.accuracy,
            "confidence": self.confidence,
            "ece": self.ece(),
            "ece_equal_mass": self.ece(kind="mass"),
            "mce": self.mce(),
            "brier": self.brier,
        }
        found = self.bins()
        return {
            "pixels": self.pixels,
            **{name: None if math.isnan(number) else number for name, number in numbers.items()},
            "bins": {name: values.tolist() for name, values in vars(found).items()},
        }

    def to_json(self, path: str | PathLike[str]) -> Path:
        """Write `to_dict` as a JSON file, replacing what stands there."""
        return write_report(self.to_dict(), path)

    def plot(self, *, path: str | PathLike[str] | None = None, title: str = "") -> Figure:
        """Draw the reliability diagram: accuracy over confidence, and how many pixels are how sure.

        Parameters
        ----------
        path
            Write the picture there, usually as ``.png``, and make no figure of pyplot.
        title
            A line above.

        Raises
        ------
        FileNotFoundError, OSError, ValueError
            If the picture cannot be written.
        """
        from seg4eo_xr.calibration.diagrams import draw_reliability

        figure = draw_reliability({title or "reliability": self}, shown=path is None)
        if path is not None:
            write_figure(figure, path)
        return figure

    def facts(self) -> list[str]:
        """Tell the figures, in lines."""
        stated, right = self.confidence, self.accuracy
        side = "too sure" if stated > right else "not sure enough"
        return [
            f"accuracy {right:.3f}, mean confidence {stated:.3f}: on the whole {side} by "
            f"{abs(stated - right):.3f}",
            f"ECE {self.ece():.4f} ({_BINS} bins of equal width), {self.ece(kind='mass'):.4f} "
            f"(of equal mass), MCE {self.mce():.3f}, Brier score of the confidence "
            f"{self.brier:.4f}, {self.pixels:,} pixels",
        ]

    def _table(self) -> tuple[list[str], list[list[str]]]:
        found = self.bins()
        rows = [
            [f"{low:.2f} to {high:.2f}", f"{stated:.3f}", f"{right:.3f}", f"{pixels:,}"]
            for low, high, pixels, stated, right in zip(*vars(found).values(), strict=True)
        ]
        return ["confidence", "mean", "right", "pixels"], rows

    def __repr__(self) -> str:
        return "\n".join([table_text(*self._table()), *self.facts()])

    def _repr_html_(self) -> str:
        table = table_html(*self._table())
        return card_html("reliability", f"ECE {self.ece():.4f}", table, lines_html(self.facts()))


def count_confidences(confidence: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Count pixels by their confidence and by whether their class is right.

    Parameters
    ----------
    confidence
        From 0 to 1, of any shape.
    right
        Whether the class is right, bool of the same shape.

    Returns
    -------
    ndarray of int64, ``(2, STEPS + 1)``
        Wrong pixels, and right ones; such arrays add up over blocks.

    Raises
    ------
    ValueError
        If a confidence lies outside of 0 to 1.
    """
    stated = np.asarray(confidence, np.float64).ravel()
    require_probabilities(stated)
    step = np.rint(stated * STEPS).astype(np.int64)
    keys = step + (STEPS + 1) * np.asarray(right, bool).ravel()
    return np.bincount(keys, minlength=2 * (STEPS + 1)).reshape(2, STEPS + 1)
