"""Checkpoints: a trained network and all that prediction needs of it, in one safe file.

On disk a checkpoint is a dict of tensors and plain values, so that it can be read without running
any code that the file might hold.
"""

from __future__ import annotations

import os
import pickle
import uuid
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from seg4eo_xr.models.zoo import ModelSpec, build_model
from seg4eo_xr.scenes.contract import Contract

Mode = Literal["binary", "multiclass"]

FORMAT_VERSION = 1
_KEYS = (
    "format_version",
    "model_state_dict",
    "architecture",
    "mode",
    "patch_size",
    "contract",
    "config",
    "performance_metrics",
)
_REMEDY = "give a .pth file that a training run of seg4eo_xr left, as model_best_iou.pth"


@dataclass(frozen=True, eq=False, repr=False)
class Checkpoint:
    """A trained network and what prediction needs to know of it.

    Parameters
    ----------
    state_dict
        The network's weights and buffers, on the CPU once loaded.
    spec
        Architecture, encoder and channels.
    contract
        Bands, normalisation, nodata and classes.
    patch_size
        Side of the training patches in pixels.
    mode
        ``binary``: one logit, of the second of two classes (sigmoid); ``multiclass``: one logit a
        class (softmax).
    config
        The training's options, complete.
    metrics
        ``best_val_loss``, ``best_val_iou`` and ``per_class_iou``.
    """

    state_dict: Mapping[str, torch.Tensor]
    spec: ModelSpec
    contract: Contract
    patch_size: int
    mode: Mode
    config: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        classes, bands = len(self.contract.classes), len(self.contract.bands)
        if self.mode not in ("binary", "multiclass"):
            raise ValueError(f"mode must be 'binary' or 'multiclass', got {self.mode!r}")
        if self.mode == "binary" and classes != 2:
            raise ValueError(f"a binary network tells 2 classes apart, the contract has {classes}")
        outputs = 1 if self.mode == "binary" else classes
        if self.spec.out_channels != outputs:
            raise ValueError(
                f"the network has {self.spec.out_channels} outputs, but a {self.mode} network of "
                f"{classes} classes has {outputs}"
            )
        if self.spec.in_channels != bands:
            raise ValueError(
                f"the network takes {self.spec.in_channels} bands, the contract names {bands}"
            )
        if self.patch_size < 1:
            raise ValueError(f"patch_size must be at least 1 pixel, got {self.patch_size}")

    def __repr__(self) -> str:
        spec, contract = self.spec, self.contract
        return (
            f"<Checkpoint {spec.model} / {spec.encoder_name}, {self.mode}, "
            f"bands {', '.join(contract.bands)}; classes {', '.join(contract.classes.names)}; "
            f"patches of {self.patch_size} px>"
        )

    def build(self) -> torch.nn.Module:
        """Build the network with its weights, ready to predict: evaluation mode, on the CPU.

        Raises
        ------
        ValueError
            If the weights are not exactly those of the architecture.
        """
        network = build_model(self.spec)
        try:
            network.load_state_dict(dict(self.state_dict), strict=True)
        except RuntimeError as error:
            raise ValueError(
                f"the checkpoint's weights are not those of model {self.spec.model!r} with encoder "
                f"{self.spec.encoder_name!r}, {self.spec.in_channels} bands and "
                f"{self.spec.out_channels} outputs: {error}"
            ) from error
        return network.eval()


def save_checkpoint(checkpoint: Checkpoint, path: str | Path) -> Path:
    """Write a checkpoint; a reader finds the old file or the new one, never a part.

    Parameters
    ----------
    checkpoint
        What to write.
    path
        The file, replaced if it exists; its folder must exist.

    Returns
    -------
    Path
        The file written.
    """
    path = Path(path)
    content = {
        "format_version": FORMAT_VERSION,
        "model_state_dict": {name: t.detach().cpu() for name, t in checkpoint.state_dict.items()},
        "architecture": asdict(checkpoint.spec),
        "mode": checkpoint.mode,
        "patch_size": int(checkpoint.patch_size),
        "contract": _plain(checkpoint.contract.to_dict()),
        "config": _plain(checkpoint.config),
        "performance_metrics": _plain(checkpoint.metrics),
    }
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    try:
        with part.open("xb") as stream:
            torch.save(content, stream)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    return path


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Read a checkpoint; no code that the file might hold is run.

    Parameters
    ----------
    path
        A file that `save_checkpoint` wrote.

    Returns
    -------
    Checkpoint
        With the weights on the CPU.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is no checkpoint, is damaged, or holds more than tensors and plain values.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint file {path}; {_REMEDY}")
    content = _read(path)
    if not isinstance(content, dict):
        raise ValueError(f"{path} is no checkpoint: it holds {_kind(content)}; {_REMEDY}")
    missing = [key for key in _KEYS if key not in content]
    if missing:
        raise ValueError(f"{path} is no checkpoint of seg4eo_xr: {missing} are missing; {_REMEDY}")
    if content["format_version"] != FORMAT_VERSION:
        raise ValueError(
            f"{path} has checkpoint format {content['format_version']!r}, this version reads "
            f"{FORMAT_VERSION}; update seg4eo_xr, or train again"
        )
    try:
        return Checkpoint(
            state_dict=_tensors(content["model_state_dict"]),
            spec=ModelSpec(**content["architecture"]),
            contract=Contract.from_dict(content["contract"]),
            patch_size=int(content["patch_size"]),
            mode=content["mode"],
            config=dict(content["config"]),
            metrics=dict(content["performance_metrics"]),
        )
    except (TypeError, ValueError, KeyError) as error:
        raise ValueError(f"{path} is no valid checkpoint: {error}; {_REMEDY}") from error


def _read(path: Path) -> object:
    # torch has written zip archives since 1.6; a cut file lacks the archive's directory at its end
    if not zipfile.is_zipfile(path):
        raise ValueError(
            f"{path} ({path.stat().st_size} bytes) is no checkpoint, or is cut off; {_REMEDY}, "
            "or copy it again"
        )
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{path} holds more than tensors and plain values, so reading it could run code from "
            f"the file: refused; {_REMEDY}"
        ) from error
    except OSError:
        raise
    except Exception as error:  # a damaged archive or pickle can raise anything
        raise ValueError(f"{path} is damaged or no checkpoint ({error}); {_REMEDY}") from error


def _tensors(mapping: object) -> dict[str, torch.Tensor]:
    if not isinstance(mapping, Mapping):
        raise TypeError(f"model_state_dict is {_kind(mapping)}")
    wrong = [name for name, value in mapping.items() if not isinstance(value, torch.Tensor)]
    if wrong:
        raise TypeError(f"model_state_dict holds no tensor under {wrong[:3]}")
    return dict(mapping)


def _kind(value: object) -> str:
    return f"a {type(value).__name__}"


def _plain(value: Any) -> Any:
    """Turn mappings, sequences, paths and NumPy values into what a safe reader accepts."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"a checkpoint holds tensors and plain values, got {_kind(value)}: {value!r}")
