"""Semantic segmentation of Earth-observation imagery on xarray, dask and Zarr.

Everything a user holds is an xarray object, everything large is lazy, everything stored is Zarr or
cloud-optimised GeoTIFF, and dask runs it. Importing this package loads no torch: a public name is
looked up in its module when it is first used. The accessor ``.seg4eo`` is there at once.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from seg4eo_xr import accessor as _accessor  # noqa: F401  (registers .seg4eo with xarray)

if TYPE_CHECKING:
    from seg4eo_xr.demo import run_demo
    from seg4eo_xr.evaluation.confusion import Evaluation, evaluate
    from seg4eo_xr.geometry.leakage import LeakageReport
    from seg4eo_xr.geometry.splits import ColumnSplit, RandomSplit, SceneSplit, SpatialSplit
    from seg4eo_xr.inference.options import PredictOptions
    from seg4eo_xr.inference.predict import predict
    from seg4eo_xr.maps.cog import verify_cog, write_cog
    from seg4eo_xr.maps.store import open_map, write_zarr
    from seg4eo_xr.models.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
    from seg4eo_xr.models.hints import CheckpointHints
    from seg4eo_xr.models.zoo import build_model, list_encoders, list_models
    from seg4eo_xr.patches.batch import BatchResult, extract_batch
    from seg4eo_xr.patches.dataset import PatchDataset
    from seg4eo_xr.patches.exporting import export_patches
    from seg4eo_xr.patches.extract import LeakageWarning, extract_patches
    from seg4eo_xr.patches.importing import UnmatchedWarning, import_patches
    from seg4eo_xr.patches.options import ExtractOptions
    from seg4eo_xr.patches.pairs import Pairs, ScenePair, find_pairs
    from seg4eo_xr.patches.store import PatchStore, open_store
    from seg4eo_xr.patches.stream import PatchStream
    from seg4eo_xr.plotting import plot_samples
    from seg4eo_xr.scenes.class_files import read_classes, write_classes
    from seg4eo_xr.scenes.classes import ClassTable
    from seg4eo_xr.scenes.coding import common_classes
    from seg4eo_xr.scenes.composites import composite
    from seg4eo_xr.scenes.conform import ContractWarning
    from seg4eo_xr.scenes.contract import Contract, Normalization, normalize
    from seg4eo_xr.scenes.cubes import open_cube, scenes_of
    from seg4eo_xr.scenes.harmonize import OffsetWarning, harmonize
    from seg4eo_xr.scenes.label_options import LabelOptions, LabelWarning
    from seg4eo_xr.scenes.labels import open_labels
    from seg4eo_xr.scenes.masks import landsat_qa, mask_scene, sentinel2_scl
    from seg4eo_xr.scenes.open import open_scene
    from seg4eo_xr.scenes.scene_options import SceneOptions
    from seg4eo_xr.scenes.stac import StacOptions, open_stac
    from seg4eo_xr.scenes.statistics import band_statistics, class_counts
    from seg4eo_xr.training.config import TrainConfig
    from seg4eo_xr.training.crossvalidate import cross_validate
    from seg4eo_xr.training.crossvalidation import CrossValidation
    from seg4eo_xr.training.fit import train
    from seg4eo_xr.training.folds import FoldOptions
    from seg4eo_xr.training.run import TrainingRun

__version__ = "0.1.0"

_HOME = {
    "BatchResult": "patches.batch",
    "Checkpoint": "models.checkpoint",
    "CheckpointHints": "models.hints",
    "ClassTable": "scenes.classes",
    "ColumnSplit": "geometry.splits",
    "Contract": "scenes.contract",
    "ContractWarning": "scenes.conform",
    "CrossValidation": "training.crossvalidation",
    "Evaluation": "evaluation.confusion",
    "ExtractOptions": "patches.options",
    "FoldOptions": "training.folds",
    "LabelOptions": "scenes.label_options",
    "LabelWarning": "scenes.label_options",
    "LeakageReport": "geometry.leakage",
    "LeakageWarning": "patches.extract",
    "Normalization": "scenes.contract",
    "OffsetWarning": "scenes.harmonize",
    "Pairs": "patches.pairs",
    "PatchDataset": "patches.dataset",
    "PatchStore": "patches.store",
    "PatchStream": "patches.stream",
    "PredictOptions": "inference.options",
    "RandomSplit": "geometry.splits",
    "SceneOptions": "scenes.scene_options",
    "ScenePair": "patches.pairs",
    "SceneSplit": "geometry.splits",
    "SpatialSplit": "geometry.splits",
    "StacOptions": "scenes.stac",
    "TrainConfig": "training.config",
    "TrainingRun": "training.run",
    "UnmatchedWarning": "patches.importing",
    "band_statistics": "scenes.statistics",
    "build_model": "models.zoo",
    "class_counts": "scenes.statistics",
    "common_classes": "scenes.coding",
    "composite": "scenes.composites",
    "cross_validate": "training.crossvalidate",
    "evaluate": "evaluation.confusion",
    "export_patches": "patches.exporting",
    "extract_batch": "patches.batch",
    "extract_patches": "patches.extract",
    "find_pairs": "patches.pairs",
    "harmonize": "scenes.harmonize",
    "import_patches": "patches.importing",
    "landsat_qa": "scenes.masks",
    "list_encoders": "models.zoo",
    "list_models": "models.zoo",
    "load_checkpoint": "models.checkpoint",
    "mask_scene": "scenes.masks",
    "normalize": "scenes.contract",
    "open_cube": "scenes.cubes",
    "open_labels": "scenes.labels",
    "open_map": "maps.store",
    "open_scene": "scenes.open",
    "open_stac": "scenes.stac",
    "open_store": "patches.store",
    "plot_samples": "plotting",
    "predict": "inference.predict",
    "read_classes": "scenes.class_files",
    "run_demo": "demo",
    "save_checkpoint": "models.checkpoint",
    "scenes_of": "scenes.cubes",
    "sentinel2_scl": "scenes.masks",
    "train": "training.fit",
    "verify_cog": "maps.cog",
    "write_classes": "scenes.class_files",
    "write_cog": "maps.cog",
    "write_zarr": "maps.store",
}

__all__ = [
    "BatchResult",
    "Checkpoint",
    "CheckpointHints",
    "ClassTable",
    "ColumnSplit",
    "Contract",
    "ContractWarning",
    "CrossValidation",
    "Evaluation",
    "ExtractOptions",
    "FoldOptions",
    "LabelOptions",
    "LabelWarning",
    "LeakageReport",
    "LeakageWarning",
    "Normalization",
    "OffsetWarning",
    "Pairs",
    "PatchDataset",
    "PatchStore",
    "PatchStream",
    "PredictOptions",
    "RandomSplit",
    "SceneOptions",
    "ScenePair",
    "SceneSplit",
    "SpatialSplit",
    "StacOptions",
    "TrainConfig",
    "TrainingRun",
    "UnmatchedWarning",
    "band_statistics",
    "build_model",
    "class_counts",
    "common_classes",
    "composite",
    "cross_validate",
    "evaluate",
    "export_patches",
    "extract_batch",
    "extract_patches",
    "find_pairs",
    "harmonize",
    "import_patches",
    "landsat_qa",
    "list_encoders",
    "list_models",
    "load_checkpoint",
    "mask_scene",
    "normalize",
    "open_cube",
    "open_labels",
    "open_map",
    "open_scene",
    "open_stac",
    "open_store",
    "plot_samples",
    "predict",
    "read_classes",
    "run_demo",
    "save_checkpoint",
    "scenes_of",
    "sentinel2_scl",
    "train",
    "verify_cog",
    "write_classes",
    "write_cog",
    "write_zarr",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
