"""Prediction and evaluation as commands, the networks there are, and a first try."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from tyro.conf import OmitArgPrefixes

from seg4eo_xr.cli.command import Flag, one_or_many
from seg4eo_xr.inference.options import PredictOptions
from seg4eo_xr.models.hints import CheckpointHints
from seg4eo_xr.scenes.label_options import LabelOptions
from seg4eo_xr.scenes.scene_options import SceneOptions


@dataclass(frozen=True, kw_only=True)
class Predict:
    """Map a scene with a trained network.

    Example: seg4eo-xr predict --model run/model_best_iou.pth --input s2.tif --output map.tif
    --save_confidence
    """

    model: str
    """The checkpoint."""
    input: tuple[str, ...]
    """The scene: one file, or several whose bands are put together."""
    output: Path
    """The map to write: a .tif becomes a cloud-optimised GeoTIFF, a .zarr a Zarr store."""
    save_confidence: Flag = False
    """Beside map.tif write map_confidence.tif; a Zarr store holds the confidence anyway."""
    overwrite: Flag = False
    """Replace maps that exist."""
    scene: OmitArgPrefixes[SceneOptions] = field(default_factory=SceneOptions)
    """How the scene is opened."""
    windows: OmitArgPrefixes[PredictOptions] = field(default_factory=PredictOptions)
    """How to predict."""
    hints: OmitArgPrefixes[CheckpointHints] = field(default_factory=CheckpointHints)
    """What a checkpoint of SemanticSeg4EO does not say."""

    def run(self) -> None:
        """Write the map and say where it is."""
        from seg4eo_xr.inference.predict import predict
        from seg4eo_xr.maps.cog import write_cog
        from seg4eo_xr.maps.store import write_zarr
        from seg4eo_xr.models.checkpoint import load_checkpoint
        from seg4eo_xr.progress import progress_bar
        from seg4eo_xr.scenes.open import open_scene

        if self.output.suffix not in (".tif", ".tiff", ".zarr"):
            raise ValueError(f"--output must end in .tif, .tiff or .zarr, got {self.output}")
        scene = open_scene(one_or_many(self.input), options=self.scene)
        result = predict(scene, load_checkpoint(self.model, self.hints), self.windows)
        written = [self.output]
        with progress_bar("predicting"):
            if self.output.suffix == ".zarr":
                write_zarr(result, self.output, overwrite=self.overwrite)
            else:
                others = {}
                if self.save_confidence:
                    name = f"{self.output.stem}_confidence{self.output.suffix}"
                    others = {"confidence": self.output.with_name(name)}
                write_cog(result, self.output, overwrite=self.overwrite, **others)
                written += others.values()
        print("\n".join(map(str, written)))


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """Hold a map against reference labels.

    Example: seg4eo-xr evaluate --prediction map.tif --reference labels.tif --output report.json
    """

    prediction: str
    """The map."""
    reference: str
    """The labels: a raster, or polygons in any CRS."""
    output: Path | None = None
    """Also write the figures as JSON."""
    labels: OmitArgPrefixes[LabelOptions] = field(default_factory=LabelOptions)
    """How the labels are read."""

    def run(self) -> None:
        """Print the table of figures."""
        from seg4eo_xr.evaluation.confusion import evaluate
        from seg4eo_xr.progress import progress_bar

        with progress_bar("comparing"):
            evaluation = evaluate(self.prediction, self.reference, self.labels)
        if self.output is not None:
            evaluation.to_json(self.output)
        print(evaluation)


@dataclass(frozen=True, kw_only=True)
class Models:
    """List the networks, or their encoders.

    Example: seg4eo-xr models --encoders
    """

    encoders: Flag = False
    """List the encoders instead."""

    def run(self) -> None:
        """Print one name a line."""
        from seg4eo_xr.models.zoo import list_encoders, list_models

        print("\n".join(list_encoders() if self.encoders else list_models()))


@dataclass(frozen=True, kw_only=True)
class Demo:
    """Make a scene, train on one part of it, and map a part the network has never seen.

    Takes about two minutes on two cores. Example: seg4eo-xr demo --output seg4eo-xr-demo
    """

    output: Path = Path("seg4eo-xr-demo")
    """Folder for the scene, the patches, the run, the map and the pictures."""
    seed: int = 0
    """Seed of the scene and of the training."""

    def run(self) -> None:
        """Run all stages and say what to look at."""
        from seg4eo_xr.demo import run_demo

        print(run_demo(self.output, seed=self.seed).summary())
