"""Maps judged: held against a reference, and against each other."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from seg4eo_xr.cli.answers import of_report
from seg4eo_xr.cli.command import Command, Told, one_or_many
from seg4eo_xr.cli.outputs import map_writer, require_writable
from seg4eo_xr.evaluation.evaluate_options import EvaluateOptions


@dataclass(frozen=True, kw_only=True)
class Evaluate(Command):
    """Hold a map against reference labels.

    Example: seg4eo-xr evaluate --prediction map.tif --reference labels.gpkg --column class
    --zones districts.gpkg --zone_column name --border_widths 1 3 --output report.json
    --figure report.png
    """

    prediction: tuple[str, ...]
    """The map, or several: the report is of all, with a table of the scenes."""
    reference: tuple[str, ...]
    """The labels: a raster, or polygons or points in any CRS. For several maps one for all, or as
    many: files are paired by their names, or by their order if the names have nothing in common."""
    zones: str | None = None
    """Polygons in any CRS; each zone is evaluated for itself too. Or a patch store: the ground of
    its training, validation and test patches, with how far these are apart."""
    classes: tuple[str, ...] | None = None
    """The classes to report, others are an error: a class table (CSV, .qml or .txt), or codes, as 0
    255."""
    output: Path | None = None
    """Also write the figures as JSON."""
    figure: Path | None = None
    """Also draw the IoU of each class and the confusion matrix, as .png, .pdf or .svg."""
    labels: EvaluateOptions = field(default_factory=EvaluateOptions)
    """How the labels are read, and what is counted apart."""

    def run(self, *, progress: bool) -> Told:
        """Print the table of figures."""
        from seg4eo_xr.cli.extracting import class_table
        from seg4eo_xr.evaluation.confusion import evaluate
        from seg4eo_xr.progress import progress_bar

        require_writable(report=self.output, figure=self.figure)
        with progress_bar("comparing", enabled=progress):
            evaluation = evaluate(
                one_or_many(self.prediction),
                one_or_many(self.reference),
                self.labels,
                classes=class_table(self.classes),
                zones=self.zones,
            )
        if self.output is not None:
            evaluation.to_json(self.output)
        if self.figure is not None:
            evaluation.plot(path=self.figure)
        return of_report(evaluation, report=self.output, figure=self.figure)


@dataclass(frozen=True, kw_only=True)
class Change(Command):
    """Tell what became of each class between two maps.

    Example: seg4eo-xr change --before 2018.tif --after 2024.tif --output change.json
    --layer change.tif
    """

    before: str
    """The first map."""
    after: str
    """The second map."""
    output: Path | None = None
    """Also write transition matrix and areas as JSON."""
    layer: Path | None = None
    """Also write a map of what changed, a .tif or .zarr: a code for each pair of classes."""
    warp: bool = False
    """Warp the second map onto the first; otherwise another grid is an error."""
    overwrite: bool = False
    """Replace a layer that exists."""

    def run(self, *, progress: bool) -> Told:
        """Print the areas of each class and the largest transitions."""
        from seg4eo_xr.evaluation.change import change_layer, map_change
        from seg4eo_xr.patches.building import locate, require_apart
        from seg4eo_xr.progress import progress_bar

        require_writable(report=self.output)
        if self.layer is not None:
            maps = (self.before, self.after)
            require_apart([locate(str(self.layer))], maps, option="--layer", source="a map")
            write = map_writer("--layer", self.layer)
            changed = change_layer(self.before, self.after, warp=self.warp)
            with progress_bar("writing", enabled=progress):
                write(changed.to_dataset(), self.layer, overwrite=self.overwrite)
        with progress_bar("comparing", enabled=progress):
            change = map_change(self.before, self.after, warp=self.warp)
        if self.output is not None:
            change.to_json(self.output)
        return of_report(change, report=self.output, layer=self.layer)
