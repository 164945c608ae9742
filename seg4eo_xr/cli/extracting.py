"""Extraction as commands: one scene, or a folder of scenes."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from seg4eo_xr.cli.answers import of_store
from seg4eo_xr.cli.command import Command, PartlyFailedError, Told, one_or_many
from seg4eo_xr.geometry.splits import ColumnSplit, RandomSplit, SceneSplit, SpatialSplit
from seg4eo_xr.patches.options import ExtractOptions
from seg4eo_xr.patches.pairs import find_pairs, require_two_files
from seg4eo_xr.scenes.label_options import LabelOptions
from seg4eo_xr.scenes.scene_options import SceneOptions

if TYPE_CHECKING:
    import xarray as xr

    from seg4eo_xr.geometry.splits import Split
    from seg4eo_xr.patches.batch import BatchResult
    from seg4eo_xr.patches.pairs import Pairs
    from seg4eo_xr.scenes.classes import ClassTable


@dataclass(frozen=True, kw_only=True)
class SplitChoice:
    """How patches are dealt to training, validation and test."""

    shares: RandomSplit = field(default_factory=RandomSplit)
    """Shares of the splits."""
    split_block: int | None = None
    """Deal whole blocks of that many pixels instead of single patches."""
    split_by_scene: bool = False
    """Deal whole scenes instead of single patches."""
    split_buffer: float = 0
    """With split_block or split_by_scene: pixels between patches of different splits, at least."""
    split_column: str | None = None
    """Column of the grid that says train, validation or test."""

    def rule(self) -> Split:
        """Return the rule that the options ask for."""
        chosen = {
            "--split_block": self.split_block is not None,
            "--split_by_scene": self.split_by_scene,
            "--split_column": self.split_column is not None,
        }
        names = [name for name, asked in chosen.items() if asked]
        if len(names) > 1:
            raise ValueError(f"{' and '.join(names)} exclude each other; choose one")
        if self.split_buffer and names not in (["--split_block"], ["--split_by_scene"]):
            raise ValueError(
                "split_buffer needs split_block, the side of a block in pixels, or split_by_scene"
            )
        ratios, seed = self.shares.ratios, self.shares.random_seed
        if self.split_block is not None:
            return SpatialSplit(self.split_block, self.split_buffer, *ratios, random_seed=seed)
        if self.split_by_scene:
            return SceneSplit(*ratios, random_seed=seed, buffer=self.split_buffer)
        return self.shares if self.split_column is None else ColumnSplit(self.split_column)


@dataclass(frozen=True, kw_only=True)
class ExtractSingle(Command):
    """Cut one scene and its labels into a patch store.

    seg4eo-xr extract batch does the same with a folder of scenes.
    Example: seg4eo-xr extract single --image s2.tif --label landcover.gpkg --column class
    --output patches.zarr --patch_size 256
    """

    image: tuple[str, ...]
    """The scene: one file, or several whose bands are put together."""
    label: str
    """The labels: a raster, or polygons in any CRS."""
    output: str
    """The patch store to write, as patches.zarr or s3://bucket/patches.zarr."""
    grid: Path | None = None
    """Polygons, one a patch; without them see sampling."""
    id_column: str | None = None
    """Column of the grid that names the patches; the row number if not given."""
    image_channels: int | None = None
    """Number of bands that the scene has to have; any if not given."""
    classes: tuple[str, ...] | None = None
    """Class table with codes, names and colours: CSV, QGIS style (.qml) or colour map (.txt); or
    the codes of all classes, as 0 255."""
    scene: SceneOptions = field(default_factory=SceneOptions)
    """How the scene is opened."""
    labels: LabelOptions = field(default_factory=LabelOptions)
    """How the labels are read."""
    split: SplitChoice = field(default_factory=SplitChoice)
    """How patches are dealt to training, validation and test."""
    patches: ExtractOptions = field(default_factory=ExtractOptions)
    """How patches are cut."""

    def run(self, *, progress: bool) -> Told:
        """Write the store and say what it holds."""
        from seg4eo_xr.patches.extract import extract_patches
        from seg4eo_xr.scenes.labels import open_labels
        from seg4eo_xr.scenes.open import open_scene

        require_two_files(self.image, self.label)
        scene = open_scene(one_or_many(self.image), options=self.scene)
        _require_channels(scene, self.image_channels, ", ".join(self.image))
        table = class_table(self.classes)
        store = extract_patches(
            scene,
            open_labels(self.label, like=scene, options=self.labels, classes=table),
            self.output,
            self.patches,
            grid=self.grid,
            id_column=self.id_column,
            split=self.split.rule(),
            classes=table,
            progress=progress,
        )
        return of_store(store)


@dataclass(frozen=True, kw_only=True)
class ExtractBatch(Command):
    """Cut the scenes of a folder into one patch store.

    Files with the same key belong together, as Image_1.tif, Label_1.tif and Grid_1.shp, or
    images/1.tif and masks/1.tif. Patterns are regular expressions whose first group is the key;
    they match the whole file name, or with a slash the end of the path, as masks/(.+)[.]tif does.
    Example: seg4eo-xr extract batch --data_dir scenes --recursive --output patches.zarr
    """

    data_dir: Path
    """The folder of scenes."""
    output: str
    """The patch store to write, as patches.zarr or s3://bucket/patches.zarr."""
    grid: Path | None = None
    """Polygons for all scenes that have no grid of their own, one a patch."""
    recursive: bool = False
    """Look into subfolders too, and follow links to folders."""
    image_pattern: str | None = None
    """Names of the scenes; if not given, as Image_1.tif, 1_image.tif or images/1.tif."""
    label_pattern: str | None = None
    """Names of the labels; if not given, as Label_1.tif, 1_mask.tif, 1_gt.tif or masks/1.tif."""
    grid_pattern: str | None = None
    """Names of the grids; if not given, as Grid_1.shp."""
    id_column: str | None = None
    """Column of the grids that names the patches; the row number if not given."""
    classes: tuple[str, ...] | None = None
    """Class table with codes, names and colours: CSV, QGIS style (.qml) or colour map (.txt); or
    the codes of all classes, as 0 255."""
    scene: SceneOptions = field(default_factory=SceneOptions)
    """How the scenes are opened."""
    labels: LabelOptions = field(default_factory=LabelOptions)
    """How the labels are read."""
    split: SplitChoice = field(default_factory=SplitChoice)
    """How patches are dealt to training, validation and test."""
    patches: ExtractOptions = field(default_factory=ExtractOptions)
    """How patches are cut."""

    def run(self, *, progress: bool) -> Told:
        """Write the store, say what it holds, and list what failed."""
        from seg4eo_xr.patches.batch import extract_batch

        pairs = find_pairs(
            self.data_dir,
            image_pattern=self.image_pattern,
            label_pattern=self.label_pattern,
            grid_pattern=self.grid_pattern,
            recursive=self.recursive,
        )
        result = extract_batch(
            pairs,
            self.output,
            self.patches,
            labels=self.labels,
            classes=class_table(self.classes),
            grid=self.grid,
            id_column=self.id_column,
            split=self.split.rule(),
            scene_options=self.scene,
            progress=progress,
        )
        told = _batch_told(pairs, result)
        if result.failed:
            lines = [f"  {name}: {message}" for name, message in result.failed.items()]
            failed = f"{len(lines)} of {len(pairs)} scenes failed, the rest is done"
            raise PartlyFailedError("\n".join([failed, *lines]), told)
        return told


def _batch_told(pairs: Pairs, result: BatchResult) -> Told:
    store = of_store(result.store)
    text = f"{pairs}\n\n{store.text}"
    if result.skipped:
        text += f"\nskipped, since the store holds them: {', '.join(result.skipped)}"
    files = {pair.name: str(pair.image) for pair in pairs}
    about = {"pairs": files, "skipped": result.skipped, "failed": result.failed}
    return Told(text, {**store.data, **about})


def class_table(given: Path | tuple[str, ...] | None) -> ClassTable | None:
    """Read the class table, if a file of one or the codes of classes are given."""
    from seg4eo_xr.scenes.class_files import read_classes
    from seg4eo_xr.scenes.classes import ClassTable

    if given is None or isinstance(given, Path):
        return None if given is None else read_classes(given)
    if all(re.fullmatch(r"[+-]?\d+", word) for word in given):
        return ClassTable.from_codes(sorted({int(word) for word in given}))
    if len(given) > 1:
        raise ValueError(f"--classes is one file, or codes such as 0 255, got {' '.join(given)}")
    return read_classes(given[0])


def _require_channels(scene: xr.DataArray, expected: int | None, name: str) -> None:
    if expected is not None and scene.sizes["band"] != expected:
        raise ValueError(
            f"{name} has {scene.sizes['band']} bands, but --image_channels asks for {expected}; "
            "--bands takes the bands named"
        )
