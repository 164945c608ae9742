"""Patch stores as commands: look at them, fill them from files, write them to files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from seg4eo_xr.cli.answers import of_path, of_store
from seg4eo_xr.cli.command import Command, Told
from seg4eo_xr.cli.groups import Folder
from seg4eo_xr.geometry.splits import SplitName
from seg4eo_xr.patches.options import ExtractOptions
from seg4eo_xr.scenes.contract import NormalizationKind
from seg4eo_xr.scenes.label_options import LabelOptions


@dataclass(frozen=True, kw_only=True)
class Info(Command):
    """Show what a patch store holds.

    Example: seg4eo-xr info --dataset_root patches.zarr
    """

    dataset_root: str
    """The patch store."""

    def run(self, *, progress: bool) -> Told:
        """Print sizes, splits, classes, bands and how far the splits are apart."""
        from seg4eo_xr.patches.store import open_store

        return of_store(open_store(self.dataset_root))


@dataclass(frozen=True, kw_only=True)
class Visualize(Command):
    """Draw patches of a store with their labels.

    Example: seg4eo-xr visualize --dataset_root patches.zarr --split train --samples 4
    """

    dataset_root: str
    """The patch store."""
    split: SplitName = "train"
    """The split whose patches are drawn."""
    sample_index: int = 0
    """Position of the first patch in its split."""
    samples: int = 1
    """Number of patches."""
    bands: tuple[str, ...] | None = None
    """Names of one or three bands; red, green and blue by their names if not given."""
    stretch: Literal["store", "patch"] = "store"
    """Brightness by the statistics of the split, or by each patch alone."""
    picture: Path | None = None
    """The picture to write; <store>_<split>_<sample_index>.png in this folder if not given."""

    def run(self, *, progress: bool) -> Told:
        """Write the picture and say where it is."""
        from seg4eo_xr.plotting import plot_samples

        name = f"{PurePosixPath(self.dataset_root).stem}_{self.split}_{self.sample_index}.png"
        picture = self.picture or Path(name)
        plot_samples(
            self.dataset_root,
            split=self.split,
            indices=range(self.sample_index, self.sample_index + self.samples),
            bands=self.bands,
            stretch=self.stretch,
            path=picture,
        )
        return of_path(picture)


@dataclass(frozen=True, kw_only=True)
class Import(Command):
    """Bring a folder of GeoTIFF patches into a patch store.

    The files are {train,validation,test}/{images,labels}/*.tif; masks, annotations, gt and img are
    names of folders too, and PNG files are taken where a folder has no GeoTIFF.
    Example: seg4eo-xr import --data_dir Patch --output patches.zarr
    """

    data_dir: Path
    """The folder that holds train, validation and test, or one that holds such a folder Patch."""
    output: str
    """The patch store to write."""
    classes: tuple[str, ...] | None = None
    """Class table with codes, names and colours: CSV, QGIS style (.qml) or colour map (.txt); or
    the codes of all classes, as 0 255."""
    ignore: int | None = LabelOptions.ignore
    """Code of unlabelled pixels; the label files' own nodata value becomes it too. If not given,
    only that means "no label" in them."""
    unlabelled: tuple[int, ...] = ()
    """Further codes that mean "no label", such as 0 in sparse masks."""
    band_names: tuple[str, ...] | None = None
    """Names of all bands, in order, where the files have none; prediction finds bands by name."""
    keep_alpha: bool = False
    """Keep a band that files mark as alpha (transparency), such as near infrared of aerial images;
    by default it says which pixels are missing."""
    normalization: NormalizationKind = ExtractOptions.normalization
    """How a model trained on this store normalises its input."""
    overwrite: bool = False
    """Replace a patch store that exists already."""
    append: bool = False
    """Add to a patch store that exists already."""

    def run(self, *, progress: bool) -> Told:
        """Write the store and say what it holds."""
        from seg4eo_xr.cli.extracting import class_table
        from seg4eo_xr.patches.importing import import_patches

        store = import_patches(
            self.data_dir,
            self.output,
            label_options=LabelOptions(ignore=self.ignore, unlabelled=self.unlabelled),
            classes=class_table(self.classes),
            band_names=self.band_names,
            keep_alpha=self.keep_alpha,
            normalization=self.normalization,
            overwrite=self.overwrite,
            append=self.append,
            progress=progress,
        )
        return of_store(store)


@dataclass(frozen=True, kw_only=True)
class Export(Command):
    """Write the patches of a store as GeoTIFFs.

    The files are {train,validation,test}/{images,labels}/*.tif.
    Example: seg4eo-xr export --dataset_root patches.zarr --output Patch
    """

    dataset_root: str
    """The patch store."""
    output: Folder
    """The folder to make."""
    splits: tuple[SplitName, ...] | None = None
    """The splits to write; all if not given."""

    def run(self, *, progress: bool) -> Told:
        """Write the files and say where they are."""
        from seg4eo_xr.patches.exporting import export_patches

        exported = export_patches(
            self.dataset_root, self.output, splits=self.splits, progress=progress
        )
        return of_path(exported)
