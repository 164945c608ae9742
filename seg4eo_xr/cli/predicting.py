"""Prediction as a command."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seg4eo_xr.cli.answers import of_job, of_jobs
from seg4eo_xr.cli.command import Command, PartlyFailedError, Told
from seg4eo_xr.cli.outputs import require_writable
from seg4eo_xr.cli.scene_input import SeriesInput
from seg4eo_xr.inference.job_options import JobOptions
from seg4eo_xr.inference.layers import LayerName
from seg4eo_xr.inference.options import PredictOptions
from seg4eo_xr.models.hints import CheckpointHints

if TYPE_CHECKING:
    from seg4eo_xr.models.checkpoint import Checkpoint


@dataclass(frozen=True, kw_only=True)
class Predict(Command):
    """Map a scene with a trained network, tile by tile.

    What was killed goes on with --resume.
    Example: seg4eo-xr predict --model run/model_best_iou.pth --input s2.tif --output map.tif
    --save_confidence --report statistics.json
    """

    model: str
    """The checkpoint."""
    source: SeriesInput
    """What to map."""
    output: str
    """The map to write: a .tif becomes a cloud-optimised GeoTIFF of the classes, a .zarr a Zarr
    store with their confidence; also as s3://bucket/map.zarr. Of a series each date is a map:
    map_2021-06-03.tif. A folder takes one map per input: maps/ gets maps/a.tif of a.tif."""
    save_confidence: bool = False
    """Beside map.tif write map_confidence.tif, which is not written otherwise; a Zarr store holds
    the confidence anyway."""
    save_probabilities: bool = False
    """Write the probability of each class too."""
    layers: tuple[LayerName, ...] | None = None
    """What the map holds; if not given, classes and confidence in a Zarr store, and the classes
    alone in a GeoTIFF. disagreement is that of windows that overlap, view_disagreement that of the
    eight pictures that tta averages."""
    report: Path | None = None
    """Also write the statistics as JSON."""
    resume: bool = False
    """Go on with what was not finished, and leave what is."""
    overwrite: bool = False
    """Replace maps that exist, and what is left of one that was not finished."""
    windows: PredictOptions = field(default_factory=PredictOptions)
    """How to predict."""
    job: JobOptions = field(default_factory=JobOptions)
    """Tiles and workers."""
    hints: CheckpointHints = field(default_factory=CheckpointHints)
    """What a checkpoint of SemanticSeg4EO does not say."""

    def run(self, *, progress: bool) -> Told:
        """Write the map, and tell what it holds and where it is."""
        from seg4eo_xr.models.checkpoint_path import require_model_file
        from seg4eo_xr.scenes.rasters import require_local_path

        # before torch is loaded, which takes longer than all these
        require_writable(report=self.report)
        require_model_file(self.model)
        for path in self.source.input:
            require_local_path(path, "scene")
        self._require_free_output()
        from seg4eo_xr.jobs.result import JobFailedError

        try:
            if self.source.series:
                return self._series(progress=progress)
            if self._to_folder():
                return self._scenes(progress=progress)
            return self._scene(progress=progress)
        except JobFailedError as error:
            told = [str(error), *getattr(error, "__notes__", ())]
            raise PartlyFailedError("\n".join(told)) from error

    def _require_free_output(self) -> None:
        """Raise FileExistsError where the one map that is asked for exists on this machine."""
        from seg4eo_xr.jobs.outputs import output_files
        from seg4eo_xr.jobs.run_folder import require_free
        from seg4eo_xr.patches.building import locate
        from seg4eo_xr.patches.writing import is_local

        place = locate(self.output)
        if self.resume or self.source.series or self._to_folder() or not is_local(place):
            return
        for file in output_files(place, self._layers()).values():
            require_free(file, overwrite=self.overwrite)

    def _scene(self, *, progress: bool) -> Told:
        from seg4eo_xr.jobs.job import predict_to_zarr
        from seg4eo_xr.jobs.result import known_files
        from seg4eo_xr.patches.building import locate, remote_errors, require_apart

        checkpoint, how = self._how(progress=progress)
        place = locate(self.output)
        require_apart([place], self.source.input)
        with remote_errors(place), known_files(place, resume=self.resume):
            scene = self.source.open(checkpoint.contract.nodata)
        result = predict_to_zarr(scene, checkpoint, self.output, **how)
        if self.report is not None:
            result.statistics.to_json(self.report)
        return of_job(result)

    def _series(self, *, progress: bool) -> Told:
        from seg4eo_xr.jobs.job import predict_series
        from seg4eo_xr.jobs.result import known_files
        from seg4eo_xr.patches.building import locate, remote_errors
        from seg4eo_xr.staging import write_report

        checkpoint, how = self._how(progress=progress)
        place = locate(self.output)
        with remote_errors(place), known_files(place, resume=self.resume, series=True):
            scenes = self.source.open_series(checkpoint.contract.nodata)
        results = predict_series(scenes, checkpoint, self.output, **how)
        if self.report is not None:
            reports = {date: result.statistics.report() for date, result in results.items()}
            write_report(reports, self.report)
        told = {date: of_job(result) for date, result in results.items()}
        text = "\n".join(f"{date}\n{one.text}" for date, one in told.items())
        return Told(text, {date: one.data for date, one in told.items()})

    def _to_folder(self) -> bool:
        """Tell whether each input becomes a map of its own."""
        from seg4eo_xr.patches.building import locate

        place = locate(self.output)
        if (
            place.suffix
            and not self.output.endswith("/")
            and (place.suffix == ".zarr" or not place.is_dir())
        ):
            return False
        if self.source.mosaic:
            raise ValueError(
                f"--mosaic makes one map, whose name (--output) ends in .tif or .zarr, got "
                f"{self.output}; for one map per input omit --mosaic"
            )
        return True

    def _scenes(self, *, progress: bool) -> Told:
        from seg4eo_xr.jobs.job import predict_scenes
        from seg4eo_xr.patches.building import locate, require_apart
        from seg4eo_xr.staging import write_report

        checkpoint, how = self._how(progress=progress)
        scenes = self.source.openers(checkpoint.contract.nodata)
        require_apart([locate(self.output) / f"{name}.tif" for name in scenes], self.source.input)
        told = of_jobs(predict_scenes(scenes, checkpoint, self.output, **how))
        if self.report is not None:
            write_report({name: told.data[name] for name in ("total", "scenes")}, self.report)
        return told

    def _how(self, *, progress: bool) -> tuple[Checkpoint, dict[str, Any]]:
        from seg4eo_xr.models.checkpoint import load_checkpoint

        how = {
            "options": replace(self.windows, layers=self._layers()),
            "job": self.job,
            "resume": self.resume,
            "overwrite": self.overwrite,
            "progress": progress,
        }
        return load_checkpoint(self.model, self.hints), how

    def _layers(self) -> tuple[LayerName, ...]:
        """Layers to store: a GeoTIFF holds one, so its default is the classes alone."""
        from seg4eo_xr.patches.building import locate

        in_store = locate(self.output).suffix == ".zarr"
        chosen = self.layers or (PredictOptions.layers if in_store else ("classes",))
        more: dict[LayerName, bool] = {
            "confidence": self.save_confidence,
            "probabilities": self.save_probabilities,
        }
        return (*chosen, *(name for name, asked in more.items() if asked and name not in chosen))
