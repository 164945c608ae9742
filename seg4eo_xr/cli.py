"""The command ``seg4eo-xr``: the public functions, their options from the same dataclasses.

Exit status: 0 done, 1 an error of the program's own, 2 wrong use or input, 130 interrupted.
"""

from __future__ import annotations

import inspect
import sys
import warnings
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol, Union

import tyro
from tyro.conf import FlagCreatePairsOff, OmitArgPrefixes, subcommand

from seg4eo_xr import __version__
from seg4eo_xr.geometry.splits import RandomSplit, SpatialSplit
from seg4eo_xr.inference.options import PredictOptions
from seg4eo_xr.patches.options import ExtractOptions
from seg4eo_xr.training.config import TrainConfig

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from seg4eo_xr.geometry.splits import Split
    from seg4eo_xr.scenes.open import SceneSource

Flag = FlagCreatePairsOff[bool]


class Command(Protocol):
    """A subcommand: its options are its fields."""

    def run(self) -> None:
        """Do the work and say what was made."""


@dataclass(frozen=True, kw_only=True)
class ExtractSingle:
    """Cut one scene and its labels into a patch store.

    Example: seg4eo-xr extract single --image s2.tif --label landcover.gpkg --column class
    --output patches.zarr --patch_size 256
    """

    image: tuple[Path, ...]
    """The scene: one file, or several single-band files of one grid."""
    label: Path
    """The labels: a raster on the scene's grid, or polygons in any CRS."""
    output: Path
    """The patch store to write, as patches.zarr."""
    grid: Path | None = None
    """Polygons, one a patch; without them a regular grid is laid."""
    id_column: str | None = None
    """Column of the grid that names the patches; the row number if not given."""
    column: str | None = None
    """Column of vector labels that holds the class."""
    background: int | None = None
    """Code of pixels outside all polygons; unlabelled if not given (0 without a column)."""
    band_names: tuple[str, ...] | None = None
    """New names of the scene's bands."""
    split: OmitArgPrefixes[RandomSplit] = field(default_factory=RandomSplit)
    """How patches are dealt to training, validation and test."""
    split_block: int | None = None
    """Deal whole blocks of that many pixels instead of single patches."""
    split_buffer: float = 0
    """With split_block: pixels between patches of different splits, at least."""
    patches: OmitArgPrefixes[ExtractOptions] = field(default_factory=ExtractOptions)
    """How patches are cut."""

    def run(self) -> None:
        """Write the store and say what it holds."""
        from seg4eo_xr.patches.extract import extract_patches
        from seg4eo_xr.scenes.labels import open_labels
        from seg4eo_xr.scenes.open import open_scene

        scene = open_scene(_one_or_many(self.image), band_names=self.band_names)
        labels = open_labels(self.label, like=scene, column=self.column, background=self.background)
        store = extract_patches(
            scene,
            labels,
            self.output,
            self.patches,
            grid=self.grid,
            id_column=self.id_column,
            split=self._split(),
        )
        print(store.describe())

    def _split(self) -> Split:
        if self.split_block is None:
            if self.split_buffer:
                raise ValueError("split_buffer needs split_block: the side of a block in pixels")
            return self.split
        return SpatialSplit(
            self.split_block,
            self.split_buffer,
            *self.split.ratios,
            random_seed=self.split.random_seed,
        )


@dataclass(frozen=True, kw_only=True)
class Info:
    """Show what a patch store holds.

    Example: seg4eo-xr info --output patches.zarr
    """

    output: Path
    """The patch store."""

    def run(self) -> None:
        """Print sizes, splits, classes and bands."""
        from seg4eo_xr.patches.store import open_store

        print(open_store(self.output).describe())


@dataclass(frozen=True, kw_only=True)
class Train:
    """Train a network on a patch store.

    Example: seg4eo-xr train --dataset_root patches.zarr --model unet --encoder_name resnet18
    --no_pretrained --epochs 5 --save_dir run
    """

    dataset_root: Path
    """The patch store."""
    save_dir: Path
    """Folder for the checkpoints and the log."""
    overwrite: Flag = False
    """Replace another run in save_dir."""
    training: OmitArgPrefixes[TrainConfig] = field(default_factory=TrainConfig)
    """How to train."""

    def run(self) -> None:
        """Train, and say where the best checkpoints are."""
        from seg4eo_xr.training.fit import train

        run = train(self.dataset_root, self.save_dir, self.training, overwrite=self.overwrite)
        print(run)


@dataclass(frozen=True, kw_only=True)
class Predict:
    """Map a scene with a trained network.

    Example: seg4eo-xr predict --model run/model_best_iou.pth --input s2.tif --output map.tif
    --save_confidence
    """

    model: Path
    """The checkpoint."""
    input: tuple[Path, ...]
    """The scene: one file, or several single-band files of one grid."""
    output: Path
    """The map to write: a .tif becomes a cloud-optimised GeoTIFF, a .zarr a Zarr store."""
    save_confidence: Flag = False
    """Beside map.tif write map_confidence.tif; a Zarr store holds the confidence anyway."""
    overwrite: Flag = False
    """Replace maps that exist."""
    band_names: tuple[str, ...] | None = None
    """New names of the scene's bands."""
    windows: OmitArgPrefixes[PredictOptions] = field(default_factory=PredictOptions)
    """How to predict."""

    def run(self) -> None:
        """Write the map and say where it is."""
        from seg4eo_xr.inference.predict import predict
        from seg4eo_xr.maps.cog import write_cog
        from seg4eo_xr.maps.store import write_zarr
        from seg4eo_xr.progress import progress_bar
        from seg4eo_xr.scenes.open import open_scene

        if self.output.suffix not in (".tif", ".tiff", ".zarr"):
            raise ValueError(f"--output must end in .tif, .tiff or .zarr, got {self.output}")
        scene = open_scene(_one_or_many(self.input), band_names=self.band_names)
        result = predict(scene, self.model, self.windows)
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

    prediction: Path
    """The map."""
    reference: Path
    """The labels: a raster on the map's grid, or polygons in any CRS."""
    output: Path | None = None
    """Also write the figures as JSON."""
    column: str | None = None
    """Column of vector labels that holds the class."""
    background: int | None = None
    """Code of pixels outside all polygons; unlabelled if not given (0 without a column)."""

    def run(self) -> None:
        """Print the table of figures."""
        from seg4eo_xr.evaluation.confusion import evaluate
        from seg4eo_xr.progress import progress_bar

        with progress_bar("comparing"):
            evaluation = evaluate(
                self.prediction, self.reference, column=self.column, background=self.background
            )
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


COMMANDS: dict[str, type[Command]] = {
    "extract single": ExtractSingle,
    "info": Info,
    "train": Train,
    "predict": Predict,
    "evaluate": Evaluate,
    "models": Models,
    "demo": Demo,
}

_DESCRIPTION = """Segment satellite, aerial or drone imagery: cut patches, train, map, evaluate.

seg4eo-xr COMMAND --help explains a command's options, which may be written --patch_size or
--patch-size alike. --debug shows the traceback of an error. A first try: seg4eo-xr demo"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments
        The words after ``seg4eo-xr``; those of the process if None.

    Returns
    -------
    int
        The exit status.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    if words == ["--version"]:
        print(f"seg4eo-xr {__version__}")
        return 0
    command = _parse(words)
    if debug:
        command.run()
        return 0
    try:
        with _plain_warnings():
            command.run()
    except (ValueError, TypeError, OSError, ImportError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0


def _parse(words: list[str]) -> Command:
    for size in (2, 1):
        name = " ".join(words[:size])
        if name in COMMANDS:
            return tyro.cli(COMMANDS[name], args=words[size:], prog=f"seg4eo-xr {name}")
    if words[:1] == ["extract"]:
        return _parse(["extract", "single", *words[1:]])
    choices: Any = Union[  # noqa: UP007
        tuple(
            Annotated[command, subcommand(name, description=_first_line(command))]
            for name, command in COMMANDS.items()
        )
    ]
    chosen: Command = tyro.cli(choices, args=words, prog="seg4eo-xr", description=_DESCRIPTION)
    return chosen


def _first_line(command: type[Command]) -> str:
    return (inspect.getdoc(command) or "").partition("\n")[0]


def _one_or_many(paths: tuple[Path, ...]) -> SceneSource:
    return paths[0] if len(paths) == 1 else list(paths)


@contextmanager
def _plain_warnings() -> Iterator[None]:
    """Show a warning as one line, without the place in the code."""

    def show(message: Warning | str, *_: object, **__: object) -> None:
        print(f"warning: {message}", file=sys.stderr)

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield
