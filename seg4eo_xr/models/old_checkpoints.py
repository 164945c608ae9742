"""Checkpoints of SemanticSeg4EO, and plain weights: what they say, and what has to be found.

Its ``*_final.pth`` hold ``model_state_dict`` and ``config``, its ``*_best_*.pth`` no ``config``.
They know neither band names nor a pixel size. Its trainer and its prediction command divide each
patch by one 99th percentile of all its bands, and by one per band with ``--normalize_per_channel``.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from seg4eo_xr.models.checkpoint import Checkpoint, plain
from seg4eo_xr.models.detection import find_spec
from seg4eo_xr.models.encoder_weights import state_dict_of
from seg4eo_xr.models.files import tensors_of, without_wrapper
from seg4eo_xr.models.hints import CheckpointHints
from seg4eo_xr.scenes.classes import ClassTable
from seg4eo_xr.scenes.conform import ContractWarning
from seg4eo_xr.scenes.contract import Contract
from seg4eo_xr.scenes.unlabelled import free_code

if TYPE_CHECKING:
    from collections.abc import Sequence

    from seg4eo_xr.scenes.contract import Normalization

_PATCH_SIZE = 224
_UNKNOWN = float("nan")
_UNBOUNDED = float("inf")


def old_checkpoint(content: Mapping[str, Any], hints: CheckpointHints) -> Checkpoint:
    """Make a checkpoint of ours out of another's content.

    Parameters
    ----------
    content
        What the file holds: ``model_state_dict`` or ``state_dict``, with or without ``config`` or
        ``metadata``; or weights alone.
    hints
        What is known of it besides; stronger than what the file says.

    Returns
    -------
    Checkpoint

    Raises
    ------
    TypeError
        If there are no weights.
    ValueError
        If no network has exactly these weights, or a hint does not fit.

    Warns
    -----
    ContractWarning
        If neither the file nor a hint says how the input was normalised in training.
    """
    state = without_wrapper(tensors_of(state_dict_of(content)))
    said = _said(content)
    architecture = hints.architecture or _text(said, "model_name", "model", "architecture")
    encoder_name = hints.encoder_name or _text(said, "encoder_name", "encoder")
    spec = find_spec(state, architecture, encoder_name)
    binary = spec.out_channels == 1
    size = hints.training_patch_size or said.get("patch_size") or _PATCH_SIZE
    checkpoint = Checkpoint(
        state_dict=state,
        spec=spec,
        contract=_contract(
            _bands(spec.in_channels, hints.model_bands),
            _classes(2 if binary else spec.out_channels, hints, said.get("class_names")),
            hints.normalization_of(spec.in_channels),
        ),
        patch_size=int(size),
        mode="binary" if binary else "multiclass",
        config=said,
        metrics=_plain_entries(content.get("performance_metrics")),
    )
    stated = hints.normalization is not None or hints.normalize_per_channel is not None
    if not stated and not _is_the_old_tools(content):
        warnings.warn(
            "the file holds weights without a contract, and does not say how their input was "
            "normalised: each window is divided by the 99th percentile of its values, as "
            "SemanticSeg4EO does. If the training did otherwise, the map is wrong; state it: "
            "--normalization none, scale or mean-std with its numbers, or patch "
            "(load_checkpoint(..., normalization='none'))",
            ContractWarning,
            stacklevel=3,
        )
    return checkpoint


def _is_the_old_tools(content: Mapping[str, Any]) -> bool:
    """Whether a file has what SemanticSeg4EO's trainer writes next to the weights."""
    metrics = content.get("metrics")
    return "model_state_dict" in content and (
        _text(_said(content), "model_name") is not None
        or "val_iou" in content
        or (isinstance(metrics, Mapping) and "mean_iou" in metrics)
    )


def _said(content: Mapping[str, Any]) -> dict[str, Any]:
    """What the file says of the network, in plain values."""
    return _plain_entries(content.get("config") or content.get("metadata"))


def _plain_entries(entries: object) -> dict[str, Any]:
    result: dict[str, Any] = plain(entries) if isinstance(entries, Mapping) else {}
    return result


def _text(said: Mapping[str, Any], *names: str) -> str | None:
    for name in names:
        if isinstance(said.get(name), str):
            return str(said[name]).lower()
    return None


def _bands(count: int, names: Sequence[str] | None) -> tuple[str, ...]:
    if names is None:
        return tuple(f"band_{number}" for number in range(1, count + 1))
    if len(names) != count:
        raise ValueError(
            f"model_bands names {len(names)} bands {list(names)}, the network takes {count}"
        )
    return tuple(names)


def _classes(count: int, hints: CheckpointHints, said: object) -> ClassTable:
    codes, names = hints.class_codes, hints.class_names
    for option, given in (("class_codes", codes), ("class_names", names)):
        if given is not None and len(given) != count:
            raise ValueError(
                f"{option} gives {len(given)} classes {list(given)}, the network has {count}"
            )
    if names is None and isinstance(said, list) and len(said) == count:
        names = tuple(str(name) for name in said)
    return ClassTable.from_codes(range(count) if codes is None else codes, names)


def _contract(
    bands: tuple[str, ...],
    classes: ClassTable,
    normalization: Normalization | None = None,
) -> Contract:
    def each(number: float) -> tuple[float, ...]:
        return (number,) * len(bands)

    return Contract(
        bands=bands,
        dtype="unknown",
        scale=each(1.0),
        offset=each(0.0),
        nodata=None,
        nodata_rule="any",
        ground_sample_distance=(_UNKNOWN, _UNKNOWN),
        minimum=each(-_UNBOUNDED),
        maximum=each(_UNBOUNDED),
        normalization=normalization or CheckpointHints().normalization_of(len(bands)),
        classes=classes,
        ignore=free_code(classes.codes),
    )
