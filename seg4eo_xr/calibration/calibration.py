"""What a calibration found, as text, HTML, JSON and picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from seg4eo_xr.canvas import write_figure
from seg4eo_xr.html import card_html, lines_html, table_html, table_text
from seg4eo_xr.staging import write_report

if TYPE_CHECKING:
    from collections.abc import Mapping
    from os import PathLike
    from pathlib import Path

    from matplotlib.figure import Figure

    from seg4eo_xr.calibration.temperature import TemperatureScores
    from seg4eo_xr.models.checkpoint import Checkpoint


@dataclass(frozen=True, eq=False, repr=False)
class Calibration:
    """The temperature of a network, and how good its probabilities were and are.

    Parameters
    ----------
    checkpoint
        The calibrated checkpoint.
    old_temperature
        The one before; 1 where there was none.
    before, after
        How good the probabilities of the old and of the new temperature are, by the name of the
        split; first the one that the temperature was fitted to.
    pixels
        Labelled pixels of each split; the scores are of some millions of them where there are more.
    path
        Where the calibrated checkpoint was written, if it was.
    """

    checkpoint: Checkpoint
    old_temperature: float
    before: Mapping[str, TemperatureScores]
    after: Mapping[str, TemperatureScores]
    pixels: Mapping[str, int]
    path: Path | None = None

    @property
    def temperature(self) -> float:
        """Divides the logits: above 1 the network was too sure, below 1 not sure enough."""
        return self.checkpoint.temperature

    @property
    def split(self) -> str:
        """The split that the temperature was fitted to."""
        return next(iter(self.before))

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, fit for JSON."""
        return {
            "temperature": self.temperature,
            "old_temperature": self.old_temperature,
            "fitted_to": self.split,
            "splits": {
                name: {
                    "labelled_pixels": self.pixels[name],
                    "before": self.before[name].to_dict(),
                    "after": self.after[name].to_dict(),
                }
                for name in self.before
            },
        }

    def to_json(self, path: str | PathLike[str]) -> Path:
        """Write `to_dict` as a JSON file, replacing what stands there."""
        return write_report(self.to_dict(), path)

    def plot(self, *, path: str | PathLike[str] | None = None, title: str = "") -> Figure:
        """Draw the reliability diagrams before and after, of the test patches if there are any.

        Parameters
        ----------
        path
            Write the picture there, usually as ``.png``, and make no figure of pyplot.
        title
            A line above; the temperature by default.

        Raises
        ------
        FileNotFoundError, OSError, ValueError
            If the picture cannot be written.
        """
        from seg4eo_xr.calibration.diagrams import draw_reliability

        split = list(self.before)[-1]
        figure = draw_reliability(
            {
                f"{split}, before": self.before[split].reliability,
                f"{split}, after": self.after[split].reliability,
            },
            title=title or self._facts()[0],
            shown=path is None,
        )
        if path is not None:
            write_figure(figure, path)
        return figure

    def _facts(self) -> list[str]:
        told = {True: "too sure", False: "not sure enough"}[self.temperature > self.old_temperature]
        lines = [
            f"temperature {self.temperature:.3f} (was {self.old_temperature:.3g}: {told}), "
            f"fitted to the {self.split} patches"
        ]
        if "test" in self.before and self.after["test"].nll > self.before["test"].nll:
            lines.append(
                f"warning: on the test patches the probabilities became worse, NLL "
                f"{self.before['test'].nll:.4f} to {self.after['test'].nll:.4f}: what is right of "
                f"the {self.split} patches is not of other ground; calibrate on more of it"
            )
        return lines if self.path is None else [*lines, f"written to {self.path}"]

    def _table(self) -> tuple[list[str], list[list[str]]]:
        rows = []
        for name in self.before:
            for when, found in (("before", self.before[name]), ("after", self.after[name])):
                stated = found.reliability
                numbers = (found.nll, stated.ece(), stated.mce(), found.brier)
                shares = (stated.confidence, stated.accuracy)
                rows.append(
                    [
                        f"{name}, {when}",
                        *(f"{number:.4f}" for number in numbers),
                        *(f"{share:.3f}" for share in shares),
                        f"{stated.pixels:,}",
                    ]
                )
        head = ["split", "NLL", "ECE", "MCE", "Brier", "mean confidence", "accuracy", "pixels"]
        return head, rows

    def __repr__(self) -> str:
        return "\n".join([table_text(*self._table()), *self._facts()])

    def _repr_html_(self) -> str:
        first, *others = self._facts()
        return card_html("calibration", first, table_html(*self._table()), lines_html(others))
