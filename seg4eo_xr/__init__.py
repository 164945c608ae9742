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
    from seg4eo_xr.geometry.splits import RandomSplit, SpatialSplit
    from seg4eo_xr.inference.options import PredictOptions
    from seg4eo_xr.inference.predict import predict
    from seg4eo_xr.maps.cog import verify_cog, write_cog
    from seg4eo_xr.maps.store import open_map, write_zarr
    from seg4eo_xr.models.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
    from seg4eo_xr.models.zoo import build_model, list_encoders, list_models
    from seg4eo_xr.patches.extract import extract_patches
    from seg4eo_xr.patches.options import ExtractOptions
    from seg4eo_xr.patches.store import PatchStore, open_store
    from seg4eo_xr.patches.stream import PatchStream
    from seg4eo_xr.scenes.classes import ClassTable
    from seg4eo_xr.scenes.conform import ContractWarning
    from seg4eo_xr.scenes.contract import Contract, Normalization, normalize
    from seg4eo_xr.scenes.labels import open_labels
    from seg4eo_xr.scenes.open import open_scene
    from seg4eo_xr.scenes.statistics import band_statistics, class_counts
    from seg4eo_xr.training.config import TrainConfig
    from seg4eo_xr.training.fit import TrainingRun, train

__version__ = "0.1.0"

_HOME = {
    "Checkpoint": "models.checkpoint",
    "ClassTable": "scenes.classes",
    "Contract": "scenes.contract",
    "ContractWarning": "scenes.conform",
    "Evaluation": "evaluation.confusion",
    "ExtractOptions": "patches.options",
    "Normalization": "scenes.contract",
    "PatchStore": "patches.store",
    "PatchStream": "patches.stream",
    "PredictOptions": "inference.options",
    "RandomSplit": "geometry.splits",
    "SpatialSplit": "geometry.splits",
    "TrainConfig": "training.config",
    "TrainingRun": "training.fit",
    "band_statistics": "scenes.statistics",
    "build_model": "models.zoo",
    "class_counts": "scenes.statistics",
    "evaluate": "evaluation.confusion",
    "extract_patches": "patches.extract",
    "list_encoders": "models.zoo",
    "list_models": "models.zoo",
    "load_checkpoint": "models.checkpoint",
    "normalize": "scenes.contract",
    "open_labels": "scenes.labels",
    "open_map": "maps.store",
    "open_scene": "scenes.open",
    "open_store": "patches.store",
    "predict": "inference.predict",
    "run_demo": "demo",
    "save_checkpoint": "models.checkpoint",
    "train": "training.fit",
    "verify_cog": "maps.cog",
    "write_cog": "maps.cog",
    "write_zarr": "maps.store",
}

__all__ = [
    "Checkpoint",
    "ClassTable",
    "Contract",
    "ContractWarning",
    "Evaluation",
    "ExtractOptions",
    "Normalization",
    "PatchStore",
    "PatchStream",
    "PredictOptions",
    "RandomSplit",
    "SpatialSplit",
    "TrainConfig",
    "TrainingRun",
    "band_statistics",
    "build_model",
    "class_counts",
    "evaluate",
    "extract_patches",
    "list_encoders",
    "list_models",
    "load_checkpoint",
    "normalize",
    "open_labels",
    "open_map",
    "open_scene",
    "open_store",
    "predict",
    "run_demo",
    "save_checkpoint",
    "train",
    "verify_cog",
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
