"""Checkpoints: a trained network and all that prediction needs of it, in one safe file.

On disk a checkpoint is a dict of tensors and plain values, so that it can be read without running
any code that the file might hold.
"""

from __future__ import annotations

import logging
import math
import os
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from seg4eo_xr.html import card_html, details_html, lines_html, table_html
from seg4eo_xr.models.checkpoint_path import REMEDY, require_model_file
from seg4eo_xr.models.files import kind_of, listed, misfits, read_weights, tensors_of
from seg4eo_xr.models.zoo import ModelSpec, build_model
from seg4eo_xr.options import changed
from seg4eo_xr.scenes.contract import Contract

if TYPE_CHECKING:
    from seg4eo_xr.models.hints import CheckpointHints

_LOGGER = logging.getLogger(__name__)

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
    temperature
        Divides the logits before they become probabilities, as `seg4eo_xr.calibrate` fits it.
    """

    state_dict: Mapping[str, torch.Tensor]
    spec: ModelSpec
    contract: Contract
    patch_size: int
    mode: Mode
    config: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    temperature: float = 1.0

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
        if not 0 < self.temperature < math.inf:
            raise ValueError(f"temperature must be a positive number, got {self.temperature}")

    def __repr__(self) -> str:
        spec, contract = self.spec, self.contract
        calibrated = "" if self.temperature == 1 else f", temperature {self.temperature:.3f}"
        return (
            f"<Checkpoint {spec.model} / {spec.encoder_name}, {self.mode}, "
            f"bands {', '.join(contract.bands)}; classes {', '.join(contract.classes.names)}; "
            f"patches of {self.patch_size} px{calibrated}>"
        )

    def _repr_html_(self) -> str:
        network = f"{self.spec.model} / {self.spec.encoder_name}, {self.mode}"
        weights = sum(tensor.numel() for tensor in self.state_dict.values())
        scores = [f"{name}: {score:.3f}" for name, score in self._scores().items()]
        facts = [f"patches of {self.patch_size} px, {weights:,} weights", *scores]
        if self.temperature != 1:
            facts.append(f"temperature {self.temperature:.3f}")
        parts = [details_html("what it expects of a scene", self.contract.to_html())]
        if self.config:
            options = table_html(["option", "value"], list(self.config.items()), texts=True)
            parts.append(details_html("options of the training", options))
        return card_html("model", network, lines_html(facts), *parts)

    def _scores(self) -> dict[str, float]:
        told = {"best_val_iou": "best validation mIoU", "best_val_loss": "best validation loss"}
        found = {label: self.metrics.get(name) for name, label in told.items()}
        return {label: score for label, score in found.items() if isinstance(score, float)}

    def build(self) -> torch.nn.Module:
        """Build the network with its weights, ready to predict: evaluation mode, on the CPU.

        Raises
        ------
        ValueError
            If the weights are not exactly those of the architecture.
        """
        with torch.random.fork_rng(devices=[]):  # the first weights are drawn, and replaced
            network = build_model(self.spec)
        wrong = misfits(network.state_dict(), self.state_dict)
        if wrong:
            raise ValueError(
                f"the checkpoint's weights are not those of model {self.spec.model!r} with encoder "
                f"{self.spec.encoder_name!r}, {self.spec.in_channels} bands and "
                f"{self.spec.out_channels} outputs: {listed(wrong)}"
            )
        network.load_state_dict(dict(self.state_dict))
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

    Raises
    ------
    OSError
        If it cannot be written.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from seg4eo_xr.testing import synthetic_sentinel2, untrained_checkpoint
    >>> model = untrained_checkpoint(*synthetic_sentinel2((64, 64)))
    >>> with TemporaryDirectory() as folder:
    ...     load_checkpoint(save_checkpoint(model, f"{folder}/model.pth")).patch_size
    64
    """
    path = Path(path)
    content = {
        "format_version": FORMAT_VERSION,
        "model_state_dict": {name: t.detach().cpu() for name, t in checkpoint.state_dict.items()},
        "architecture": asdict(checkpoint.spec),
        "mode": checkpoint.mode,
        "patch_size": int(checkpoint.patch_size),
        "contract": plain(checkpoint.contract.to_dict()),
        "config": plain(checkpoint.config),
        "performance_metrics": plain(checkpoint.metrics),
        "temperature": float(checkpoint.temperature),
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
    _LOGGER.debug("wrote %s", path)
    return path


def load_checkpoint(
    path: str | Path, hints: CheckpointHints | None = None, **changes: Any
) -> Checkpoint:
    """Read a checkpoint; no code that the file might hold is run.

    Besides our own, the files of SemanticSeg4EO and plain weights are read. Their architecture,
    encoder, bands and classes are found from what they say, and from the names and shapes of their
    weights. Their input is normalised as that tool does, each window by one 99th percentile of all
    its bands, unless ``normalization`` or ``normalize_per_channel`` says otherwise.

    Parameters
    ----------
    path
        A file that `save_checkpoint` wrote, or one of weights.
    hints
        What the file does not say.
    **changes
        Fields of `CheckpointHints` to set, as ``encoder_name="resnet50"``.

    Returns
    -------
    Checkpoint
        With the weights on the CPU.

    Raises
    ------
    FileNotFoundError, IsADirectoryError
        If there is no such file, or it is a folder; the checkpoints in it are named.
    ValueError
        If the file is no checkpoint, is damaged, or holds more than tensors and plain values; if
        no network has exactly these weights (the names that do not fit are listed); or if hints
        contradict a file that says all itself.

    Warns
    -----
    ContractWarning
        If the file holds plain weights, and no hint says how their input was normalised.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from seg4eo_xr.testing import synthetic_sentinel2, untrained_checkpoint
    >>> model = untrained_checkpoint(*synthetic_sentinel2((64, 64)))
    >>> with TemporaryDirectory() as folder:
    ...     load_checkpoint(save_checkpoint(model, f"{folder}/model.pth")).contract.bands[:3]
    ('B02', 'B03', 'B04')
    """
    from seg4eo_xr.models.hints import CheckpointHints
    from seg4eo_xr.models.old_checkpoints import old_checkpoint

    hints = changed(hints, CheckpointHints, changes)
    path = Path(path)
    require_model_file(path)
    content = read_weights(path, REMEDY)
    if not isinstance(content, dict):
        raise ValueError(f"{path} is no checkpoint: it holds {kind_of(content)}; {REMEDY}")
    try:
        if "format_version" not in content:
            checkpoint = old_checkpoint(content, hints)
        else:
            checkpoint = _own_checkpoint(content)
            _require_agreement(hints, checkpoint)
    except (TypeError, ValueError, KeyError) as error:
        # where options are given, these may be what is wrong, and the message names them
        remedy = "" if hints.given() else f"; {REMEDY}"
        raise ValueError(f"{path} cannot be used to predict with: {error}{remedy}") from error
    _LOGGER.debug("loaded %s: %r", path, checkpoint)
    return checkpoint


def _own_checkpoint(content: Mapping[str, Any]) -> Checkpoint:
    if content["format_version"] != FORMAT_VERSION:
        raise ValueError(
            f"it has format {content['format_version']!r}, this version reads {FORMAT_VERSION}; "
            "update seg4eo_xr, or train again"
        )
    missing = [key for key in _KEYS if key not in content]
    if missing:
        raise ValueError(f"{missing} are missing")
    return Checkpoint(
        state_dict=tensors_of(content["model_state_dict"]),
        spec=ModelSpec(**content["architecture"]),
        contract=Contract.from_dict(content["contract"]),
        patch_size=int(content["patch_size"]),
        mode=content["mode"],
        config=dict(content["config"]),
        metrics=dict(content["performance_metrics"]),
        # a file from before there were temperatures has none
        temperature=float(content.get("temperature", 1.0)),
    )


def _require_agreement(hints: CheckpointHints, checkpoint: Checkpoint) -> None:
    """Raise a ValueError where hints say something else than a checkpoint says itself."""
    spec, contract = checkpoint.spec, checkpoint.contract
    said: dict[str, Any] = {
        "architecture": spec.model,
        "encoder_name": spec.encoder_name,
        "model_bands": contract.bands,
        "class_codes": contract.classes.codes,
        "class_names": contract.classes.names,
        "training_patch_size": checkpoint.patch_size,
    }
    given = {name: getattr(hints, name) for name in hints.given()}
    of_input = [name for name in given if name not in said]
    differ = [name for name, value in given.items() if name in said and value != said[name]]
    wrong = [f"{name} is {said[name]!r} in the file, got {given[name]!r}" for name in differ]
    if of_input and hints.normalization_of(len(contract.bands)) != contract.normalization:
        wrong.append(f"its normalisation is {contract.normalization.kind!r}, set by its training")
        differ += of_input
    if wrong:
        options = ", ".join(f"--{name}" for name in differ)
        # the scripts of SemanticSeg4EO, whose options are taken too, have another name for it
        options = options.replace("--architecture", "--architecture (or --model_name)")
        remedy = f"leave out {options}"
        if "model_bands" in differ:
            remedy += ", or rename the scene's bands with --band_names (band_names of open_scene)"
        raise ValueError(f"it says itself what it is: {'; '.join(wrong)}; {remedy}")


def plain(value: Any) -> Any:
    """Turn mappings, sequences, paths, arrays and tensors into what a safe reader accepts."""
    if isinstance(value, np.ndarray | np.generic | torch.Tensor):
        return value.tolist()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"a checkpoint holds tensors and plain values, got {kind_of(value)}: {value!r}")
