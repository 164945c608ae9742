"""The cost of a prediction, before it runs, as a command."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from seg4eo_xr.cli.answers import of_report
from seg4eo_xr.cli.command import Command, Told
from seg4eo_xr.cli.outputs import require_writable
from seg4eo_xr.cli.scene_input import SceneInput
from seg4eo_xr.inference.job_options import JobOptions
from seg4eo_xr.inference.options import PredictOptions
from seg4eo_xr.models.hints import CheckpointHints


@dataclass(frozen=True, kw_only=True)
class Plan(Command):
    """Tell what mapping costs: work, memory, time, storage.

    Example: seg4eo-xr plan --model run/model_best_iou.pth --input s2.tif --machines 4
    """

    model: str
    """The checkpoint."""
    source: SceneInput
    """What to map."""
    output: Path | None = None
    """Also write the figures as JSON."""
    machines: int = 1
    """Machines like this one that share the work."""
    no_calibration: bool = False
    """Do not measure this machine: nothing is read, and time and storage stay open."""
    windows: PredictOptions = field(default_factory=PredictOptions)
    """How to predict."""
    job: JobOptions = field(default_factory=JobOptions)
    """How a job cuts the scene into tiles."""
    hints: CheckpointHints = field(default_factory=CheckpointHints)
    """What a checkpoint of SemanticSeg4EO does not say."""

    def run(self, *, progress: bool) -> Told:
        """Print the table of both ways."""
        from seg4eo_xr.models.checkpoint import load_checkpoint
        from seg4eo_xr.planning.planning import plan
        from seg4eo_xr.staging import write_report

        require_writable(report=self.output)
        checkpoint = load_checkpoint(self.model, self.hints)
        planned = plan(
            self.source.open(checkpoint.contract.nodata),
            checkpoint,
            self.windows,
            self.job,
            machines=self.machines,
            calibrate=not self.no_calibration,
        )
        if self.output is not None:
            write_report(planned.to_dict(), self.output)
        return of_report(planned, report=self.output)
