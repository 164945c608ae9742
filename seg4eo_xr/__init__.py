"""Semantic segmentation of Earth-observation imagery on xarray, dask and Zarr.

Everything a user holds is an xarray object, everything large is lazy, everything stored is Zarr or
cloud-optimised GeoTIFF, and dask runs it. Importing this package loads no torch: a public name is
looked up in its module when it is first used. The accessor ``.seg4eo`` is there at once.
"""

from __future__ import annotations

import logging
from importlib import import_module
from typing import TYPE_CHECKING, Any

import dask.config

from seg4eo_xr import accessor as _accessor  # noqa: F401  (registers .seg4eo with xarray)

if TYPE_CHECKING:
    from seg4eo_xr.areas.area import areas_from_matrix, estimate_areas
    from seg4eo_xr.areas.area_estimate import AreaEstimate
    from seg4eo_xr.areas.own_points import sample_of_points
    from seg4eo_xr.areas.sample_files import read_sample, write_sample
    from seg4eo_xr.areas.sample_options import AreaOptions, SampleOptions, SampleWarning
    from seg4eo_xr.areas.sampling import draw_sample
    from seg4eo_xr.areas.strata import Strata
    from seg4eo_xr.calibration.calibrate import calibrate
    from seg4eo_xr.calibration.calibration import Calibration
    from seg4eo_xr.calibration.confidence import reliability
    from seg4eo_xr.calibration.reliability import Reliability
    from seg4eo_xr.calibration.temperature import CalibrationWarning
    from seg4eo_xr.demo import run_demo
    from seg4eo_xr.evaluation.change import change_layer, map_change
    from seg4eo_xr.evaluation.confusion import evaluate
    from seg4eo_xr.evaluation.evaluate_options import EvaluateOptions
    from seg4eo_xr.evaluation.result import Evaluation
    from seg4eo_xr.evaluation.transitions import MapChange
    from seg4eo_xr.geometry.leakage import LeakageReport
    from seg4eo_xr.geometry.splits import ColumnSplit, RandomSplit, SceneSplit, SpatialSplit
    from seg4eo_xr.inference.backoff import BatchWarning
    from seg4eo_xr.inference.compiling import CompileWarning
    from seg4eo_xr.inference.job_options import JobOptions
    from seg4eo_xr.inference.options import PredictOptions
    from seg4eo_xr.inference.precision import PrecisionWarning
    from seg4eo_xr.inference.predict import SeamWarning, predict
    from seg4eo_xr.jobs.job import predict_scenes, predict_series, predict_to_zarr
    from seg4eo_xr.jobs.result import JobFailedError, JobResult
    from seg4eo_xr.maps.cog import verify_cog, write_cog
    from seg4eo_xr.maps.regions import write_region
    from seg4eo_xr.maps.statistics import MapStatistics
    from seg4eo_xr.maps.store import open_map, write_zarr
    from seg4eo_xr.maps.survey import map_statistics
    from seg4eo_xr.models.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
    from seg4eo_xr.models.hints import CheckpointHints
    from seg4eo_xr.models.zoo import build_model, list_encoders, list_models
    from seg4eo_xr.notices import Seg4EOWarning
    from seg4eo_xr.patches.batch import BatchResult, FailedSceneWarning, extract_batch
    from seg4eo_xr.patches.building import LeftoverWarning
    from seg4eo_xr.patches.dataset import PatchDataset
    from seg4eo_xr.patches.exporting import export_patches
    from seg4eo_xr.patches.extract import LeakageWarning, extract_patches
    from seg4eo_xr.patches.importing import UnmatchedWarning, import_patches
    from seg4eo_xr.patches.options import ExtractOptions
    from seg4eo_xr.patches.pairs import Pairs, ScenePair, find_pairs
    from seg4eo_xr.patches.sources import ResamplingWarning
    from seg4eo_xr.patches.store import PatchStore, open_store
    from seg4eo_xr.patches.stream import PatchStream, StreamOptions
    from seg4eo_xr.planning.plan import Plan
    from seg4eo_xr.planning.planning import plan
    from seg4eo_xr.plotting import plot_samples
    from seg4eo_xr.postprocessing.filters import majority_filter, reclassify, sieve
    from seg4eo_xr.postprocessing.polygon_options import PolygonOptions
    from seg4eo_xr.postprocessing.polygons import to_polygons
    from seg4eo_xr.scenes.class_files import read_classes, write_classes
    from seg4eo_xr.scenes.classes import ClassTable
    from seg4eo_xr.scenes.clipping import clip_scene
    from seg4eo_xr.scenes.coding import common_classes
    from seg4eo_xr.scenes.composites import composite
    from seg4eo_xr.scenes.conform import ContractWarning
    from seg4eo_xr.scenes.contract import Contract, Normalization, normalize
    from seg4eo_xr.scenes.cubes import open_cube, scenes_of
    from seg4eo_xr.scenes.harmonize import OffsetWarning, harmonize
    from seg4eo_xr.scenes.label_options import LabelOptions, LabelWarning
    from seg4eo_xr.scenes.labels import open_labels
    from seg4eo_xr.scenes.masks import landsat_qa, mask_scene, sentinel2_scl
    from seg4eo_xr.scenes.missing import SceneWarning
    from seg4eo_xr.scenes.mosaics import open_mosaic
    from seg4eo_xr.scenes.open import open_scene
    from seg4eo_xr.scenes.scene_options import SceneOptions
    from seg4eo_xr.scenes.stac import StacOptions, open_stac
    from seg4eo_xr.scenes.statistics import band_statistics, class_counts
    from seg4eo_xr.training.config import TrainConfig, TrainingWarning
    from seg4eo_xr.training.crossvalidate import cross_validate
    from seg4eo_xr.training.crossvalidation import CrossValidation
    from seg4eo_xr.training.fit import train
    from seg4eo_xr.training.folds import FoldOptions
    from seg4eo_xr.training.run import TrainingRun

__version__ = "0.1.0"

logging.getLogger(__name__).addHandler(logging.NullHandler())

if dask.config.get("array.query-planning", None):
    raise ImportError(
        "dask's array.query-planning is on, under which arrays have no graph to add to; set "
        "DASK_ARRAY__QUERY_PLANNING=False, or dask.config, before dask.array is imported"
    )

_HOME = {
    "AreaEstimate": "areas.area_estimate",
    "AreaOptions": "areas.sample_options",
    "BatchResult": "patches.batch",
    "BatchWarning": "inference.backoff",
    "Calibration": "calibration.calibration",
    "CalibrationWarning": "calibration.temperature",
    "Checkpoint": "models.checkpoint",
    "CheckpointHints": "models.hints",
    "ClassTable": "scenes.classes",
    "ColumnSplit": "geometry.splits",
    "CompileWarning": "inference.compiling",
    "Contract": "scenes.contract",
    "ContractWarning": "scenes.conform",
    "CrossValidation": "training.crossvalidation",
    "EvaluateOptions": "evaluation.evaluate_options",
    "Evaluation": "evaluation.result",
    "ExtractOptions": "patches.options",
    "FailedSceneWarning": "patches.batch",
    "FoldOptions": "training.folds",
    "JobFailedError": "jobs.result",
    "JobOptions": "inference.job_options",
    "JobResult": "jobs.result",
    "LabelOptions": "scenes.label_options",
    "LabelWarning": "scenes.label_options",
    "LeakageReport": "geometry.leakage",
    "LeakageWarning": "patches.extract",
    "LeftoverWarning": "patches.building",
    "MapChange": "evaluation.transitions",
    "MapStatistics": "maps.statistics",
    "Normalization": "scenes.contract",
    "OffsetWarning": "scenes.harmonize",
    "Pairs": "patches.pairs",
    "PatchDataset": "patches.dataset",
    "PatchStore": "patches.store",
    "PatchStream": "patches.stream",
    "Plan": "planning.plan",
    "PolygonOptions": "postprocessing.polygon_options",
    "PrecisionWarning": "inference.precision",
    "PredictOptions": "inference.options",
    "RandomSplit": "geometry.splits",
    "Reliability": "calibration.reliability",
    "ResamplingWarning": "patches.sources",
    "SampleOptions": "areas.sample_options",
    "SampleWarning": "areas.sample_options",
    "SceneOptions": "scenes.scene_options",
    "ScenePair": "patches.pairs",
    "SceneSplit": "geometry.splits",
    "SceneWarning": "scenes.missing",
    "SeamWarning": "inference.predict",
    "Seg4EOWarning": "notices",
    "SpatialSplit": "geometry.splits",
    "StreamOptions": "patches.stream",
    "StacOptions": "scenes.stac",
    "Strata": "areas.strata",
    "TrainConfig": "training.config",
    "TrainingRun": "training.run",
    "TrainingWarning": "training.config",
    "UnmatchedWarning": "patches.importing",
    "areas_from_matrix": "areas.area",
    "band_statistics": "scenes.statistics",
    "build_model": "models.zoo",
    "calibrate": "calibration.calibrate",
    "change_layer": "evaluation.change",
    "class_counts": "scenes.statistics",
    "clip_scene": "scenes.clipping",
    "common_classes": "scenes.coding",
    "composite": "scenes.composites",
    "cross_validate": "training.crossvalidate",
    "draw_sample": "areas.sampling",
    "estimate_areas": "areas.area",
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
    "majority_filter": "postprocessing.filters",
    "map_change": "evaluation.change",
    "map_statistics": "maps.survey",
    "mask_scene": "scenes.masks",
    "normalize": "scenes.contract",
    "open_cube": "scenes.cubes",
    "open_labels": "scenes.labels",
    "open_map": "maps.store",
    "open_mosaic": "scenes.mosaics",
    "open_scene": "scenes.open",
    "open_stac": "scenes.stac",
    "open_store": "patches.store",
    "plan": "planning.planning",
    "plot_samples": "plotting",
    "predict": "inference.predict",
    "predict_scenes": "jobs.job",
    "predict_series": "jobs.job",
    "predict_to_zarr": "jobs.job",
    "read_classes": "scenes.class_files",
    "read_sample": "areas.sample_files",
    "reclassify": "postprocessing.filters",
    "reliability": "calibration.confidence",
    "run_demo": "demo",
    "sample_of_points": "areas.own_points",
    "save_checkpoint": "models.checkpoint",
    "scenes_of": "scenes.cubes",
    "sentinel2_scl": "scenes.masks",
    "sieve": "postprocessing.filters",
    "to_polygons": "postprocessing.polygons",
    "train": "training.fit",
    "verify_cog": "maps.cog",
    "write_classes": "scenes.class_files",
    "write_cog": "maps.cog",
    "write_region": "maps.regions",
    "write_sample": "areas.sample_files",
    "write_zarr": "maps.store",
}

__all__ = [
    "AreaEstimate",
    "AreaOptions",
    "BatchResult",
    "BatchWarning",
    "Calibration",
    "CalibrationWarning",
    "Checkpoint",
    "CheckpointHints",
    "ClassTable",
    "ColumnSplit",
    "CompileWarning",
    "Contract",
    "ContractWarning",
    "CrossValidation",
    "EvaluateOptions",
    "Evaluation",
    "ExtractOptions",
    "FailedSceneWarning",
    "FoldOptions",
    "JobFailedError",
    "JobOptions",
    "JobResult",
    "LabelOptions",
    "LabelWarning",
    "LeakageReport",
    "LeakageWarning",
    "LeftoverWarning",
    "MapChange",
    "MapStatistics",
    "Normalization",
    "OffsetWarning",
    "Pairs",
    "PatchDataset",
    "PatchStore",
    "PatchStream",
    "Plan",
    "PolygonOptions",
    "PrecisionWarning",
    "PredictOptions",
    "RandomSplit",
    "Reliability",
    "ResamplingWarning",
    "SampleOptions",
    "SampleWarning",
    "SceneOptions",
    "ScenePair",
    "SceneSplit",
    "SceneWarning",
    "SeamWarning",
    "Seg4EOWarning",
    "SpatialSplit",
    "StacOptions",
    "Strata",
    "StreamOptions",
    "TrainConfig",
    "TrainingRun",
    "TrainingWarning",
    "UnmatchedWarning",
    "areas_from_matrix",
    "band_statistics",
    "build_model",
    "calibrate",
    "change_layer",
    "class_counts",
    "clip_scene",
    "common_classes",
    "composite",
    "cross_validate",
    "draw_sample",
    "estimate_areas",
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
    "majority_filter",
    "map_change",
    "map_statistics",
    "mask_scene",
    "normalize",
    "open_cube",
    "open_labels",
    "open_map",
    "open_mosaic",
    "open_scene",
    "open_stac",
    "open_store",
    "plan",
    "plot_samples",
    "predict",
    "predict_scenes",
    "predict_series",
    "predict_to_zarr",
    "read_classes",
    "read_sample",
    "reclassify",
    "reliability",
    "run_demo",
    "sample_of_points",
    "save_checkpoint",
    "scenes_of",
    "sentinel2_scl",
    "sieve",
    "to_polygons",
    "train",
    "verify_cog",
    "write_classes",
    "write_cog",
    "write_region",
    "write_sample",
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
