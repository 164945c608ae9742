"""Confidences that hold: fitted for a network, and checked in a map."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from seg4eo_xr.cli.answers import of_report
from seg4eo_xr.cli.command import Command, Told
from seg4eo_xr.cli.outputs import require_writable
from seg4eo_xr.models.hints import CheckpointHints
from seg4eo_xr.scenes.label_options import LabelOptions


@dataclass(frozen=True, kw_only=True)
class Calibrate(Command):
    """Fit a network's confidence to how often it is right.

    Its temperature is chosen so that confidence 0.8 is right eight times in ten.
    Example: seg4eo-xr calibrate --model run/model_best_iou.pth --dataset_root patches.zarr
    --output calibrated.pth --figure calibration.png
    """

    model: Path
    """The checkpoint."""
    dataset_root: str
    """The patch store it was trained on, or one cut alike."""
    output: Path
    """The calibrated checkpoint to write."""
    split: Literal["validation", "test"] = "validation"
    """The patches to fit the temperature to."""
    figure: Path | None = None
    """Also draw the reliability diagrams before and after, as .png, .pdf or .svg."""
    report: Path | None = None
    """Also write the figures as JSON."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where the network runs; auto takes an accelerator if there is one."""
    overwrite: bool = False
    """Replace a checkpoint that exists."""
    hints: CheckpointHints = field(default_factory=CheckpointHints)
    """What a checkpoint of SemanticSeg4EO or plain weights do not say."""

    def run(self, *, progress: bool) -> Told:
        """Write the calibrated checkpoint, and print the figures before and after."""
        from seg4eo_xr.calibration.calibrate import calibrate
        from seg4eo_xr.models.checkpoint import load_checkpoint

        require_writable(report=self.report, figure=self.figure)
        found = calibrate(
            load_checkpoint(self.model, self.hints),
            self.dataset_root,
            split=self.split,
            output=self.output,
            overwrite=self.overwrite,
            device=self.device,
            progress=progress,
        )
        if self.report is not None:
            found.to_json(self.report)
        if self.figure is not None:
            found.plot(path=self.figure)
        return of_report(found, checkpoint=self.output, report=self.report, figure=self.figure)


@dataclass(frozen=True, kw_only=True)
class CheckConfidence(Command):
    """Hold a map's confidence against how often it is right.

    Example: seg4eo-xr reliability --prediction map.tif --confidence map_confidence.tif
    --reference labels.tif --figure reliability.png
    """

    prediction: str
    """The map."""
    reference: str
    """The labels: a raster, or polygons in any CRS."""
    confidence: str | None = None
    """The confidence, where the map is a GeoTIFF and does not hold it."""
    figure: Path | None = None
    """Also draw the reliability diagram, as .png, .pdf or .svg."""
    output: Path | None = None
    """Also write the figures as JSON."""
    labels: LabelOptions = field(default_factory=LabelOptions)
    """How the labels are read."""

    def run(self, *, progress: bool) -> Told:
        """Print the accuracy of each bin of confidence, and how far the two are apart."""
        from seg4eo_xr.calibration.confidence import reliability
        from seg4eo_xr.progress import progress_bar

        require_writable(report=self.output, figure=self.figure)
        with progress_bar("comparing", enabled=progress):
            found = reliability(
                self.prediction, self.reference, self.labels, confidence=self.confidence
            )
        if self.output is not None:
            found.to_json(self.output)
        if self.figure is not None:
            found.plot(path=self.figure)
        return of_report(found, report=self.output, figure=self.figure)
