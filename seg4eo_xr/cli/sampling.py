"""Samples and areas as commands: points for people to judge, and what follows from them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from seg4eo_xr.areas.sample_options import AreaOptions, DrawnBy, SampleOptions
from seg4eo_xr.cli.answers import of_report
from seg4eo_xr.cli.command import Command, Told
from seg4eo_xr.cli.outputs import require_writable


@dataclass(frozen=True, kw_only=True)
class Sample(Command):
    """Draw points of a map for people to judge.

    They are drawn stratum by stratum: in each class of the map, if nothing else is given.
    Example: seg4eo-xr sample --prediction map.tif --output sample.gpkg --size 400
    """

    prediction: Path
    """The map."""
    output: Path
    """The GeoPackage to write: fill in the column reference of its points."""
    strata: Path | None = None
    """Raster on the map's grid whose codes are the strata; the classes of the map if not given."""
    classes: Path | None = None
    """Class table with codes, names and colours; that of the map if not given."""
    overwrite: bool = False
    """Replace a sample that exists, and with it what was filled in."""
    points: SampleOptions = field(default_factory=SampleOptions)
    """How many points there are, and where."""

    def run(self, *, progress: bool) -> Told:
        """Write the sample, and say how many points each stratum has."""
        from seg4eo_xr.areas.sample_files import require_geopackage, write_sample
        from seg4eo_xr.areas.sample_table import strata_of
        from seg4eo_xr.areas.sampling import draw_sample
        from seg4eo_xr.cli.extracting import class_table
        from seg4eo_xr.html import table_text
        from seg4eo_xr.progress import progress_bar
        from seg4eo_xr.staging import staging

        # before the map is read: can the sample be written?
        output = require_geopackage(self.output)
        with staging(output, overwrite=self.overwrite), progress_bar("drawing", enabled=progress):
            sample = draw_sample(
                self.prediction,
                self.points,
                strata=self.strata,
                classes=class_table(self.classes),
            )
        write_sample(sample, output, overwrite=self.overwrite)
        strata, drawn = strata_of(sample), sample["stratum"].value_counts()
        points = [int(drawn[code]) for code in strata.codes]
        told = list(zip(strata.names, strata.weights, strata.pixels, points, strict=True))
        rows = [
            [name, f"{100 * weight:.2f} %", f"{pixels:,}", str(count)]
            for name, weight, pixels, count in told
        ]
        columns = ["stratum", "area", "pixels", "points"]
        text = f"{table_text(columns, rows)}\n{self.output}"
        counted = [
            dict(zip(("name", "share", "pixels", "points"), one, strict=True)) for one in told
        ]
        return Told(text, {"path": self.output, "strata": counted})


@dataclass(frozen=True, kw_only=True)
class Areas(Command):
    """Estimate areas, with errors, from a judged sample.

    Example: seg4eo-xr areas --sample sample.gpkg --filled judged.csv --output areas.json
    """

    sample: Path
    """The GeoPackage that `sample` wrote, filled in; with column, points of your own."""
    prediction: Path | None = None
    """Another map to judge by the same points; with column, the map."""
    filled: Path | None = None
    """Table with the columns id and reference, as CSV or vectors, that fills the sample."""
    column: str | None = None
    """The sample is points of your own, drawn at random, with their class in this column."""
    strata: Path | None = None
    """With column: raster whose codes are the strata; the classes of the map if not given."""
    drawn_by: DrawnBy = "pixel"
    """With column: whether every pixel of a stratum had the same chance, or every square metre."""
    classes: Path | None = None
    """Class table with codes, names and colours; that of the sample or the map if not given."""
    output: Path | None = None
    """Also write the figures as JSON."""
    estimate: AreaOptions = field(default_factory=AreaOptions)
    """How the estimate is made."""

    def run(self, *, progress: bool) -> Told:
        """Print the table of areas and accuracies."""
        from seg4eo_xr.areas.area import estimate_areas
        from seg4eo_xr.areas.own_points import sample_of_points
        from seg4eo_xr.areas.sample_files import read_sample
        from seg4eo_xr.cli.extracting import class_table
        from seg4eo_xr.progress import progress_bar

        require_writable(report=self.output)
        classes, judged = class_table(self.classes), self.prediction
        if self.column is None:
            if self.strata is not None or self.drawn_by != "pixel":
                raise ValueError(
                    "--strata and --drawn_by go with --column; a sample that was drawn with the "
                    "command sample has strata and chances of its own"
                )
            sample = read_sample(self.sample, filled=self.filled)
        elif self.prediction is None or self.filled is not None:
            raise ValueError("--column needs --prediction, the map, and goes without --filled")
        else:
            with progress_bar("measuring strata", enabled=progress):
                sample = sample_of_points(
                    self.sample,
                    self.prediction,
                    column=self.column,
                    strata=self.strata,
                    classes=classes,
                    drawn_by=self.drawn_by,
                )
            judged = None
        estimate = estimate_areas(sample, self.estimate, prediction=judged, classes=classes)
        if self.output is not None:
            estimate.to_json(self.output)
        return of_report(estimate, report=self.output)
