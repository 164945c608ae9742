"""The number format of the forward pass: which one a machine is fast at, and how to run in it."""

from __future__ import annotations

import warnings
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import torch

from seg4eo_xr.notices import Seg4EOWarning

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from seg4eo_xr.inference.hardware import Hardware
    from seg4eo_xr.inference.options import Precision, PrecisionChoice
    from seg4eo_xr.scenes.contract import Normalization

# What autocast runs in the lower precision whatever comes in; all else keeps its float32 numbers.
_CAST = (
    torch.nn.Conv1d,
    torch.nn.Conv2d,
    torch.nn.ConvTranspose2d,
    torch.nn.Linear,
)


class PrecisionWarning(Seg4EOWarning):
    """A number format that the machine computes slowly."""


def resolve_precision(
    choice: PrecisionChoice, hardware: Hardware, normalization: Normalization | None = None
) -> Precision:
    """Turn ``auto`` into the fastest precision that all machines of a run have.

    Parameters
    ----------
    choice
        What the options say.
    hardware
        Where the network will run.
    normalization
        That of the model.

    Returns
    -------
    str
        ``bfloat16`` where it is computed in hardware, else ``float32``; any other choice as it is.
        Models that normalise each patch by itself get ``float32``: those of SemanticSeg4EO, whose
        maps it gives.

    Warns
    -----
    PrecisionWarning
        If the format asked for is slower than float32 there.

    Examples
    --------
    >>> from seg4eo_xr.inference.hardware import Hardware
    >>> old, new = Hardware("cpu", (), True), Hardware("cpu", ("bfloat16",), True)
    >>> resolve_precision("auto", old), resolve_precision("auto", new)
    ('float32', 'bfloat16')
    """
    if choice == "auto" and normalization is not None and normalization.by_patch:
        return "float32"
    if choice == "auto":
        return "bfloat16" if "bfloat16" in hardware.fast_formats else "float32"
    if choice != "float32" and choice not in hardware.fast_formats:
        warnings.warn(
            f"precision {choice!r} is not computed in hardware on {hardware.device!r} here and "
            "may be slower than float32; precision='auto' takes what is fast",
            PrecisionWarning,
            stacklevel=2,
        )
    return choice


def cast_weights(module: torch.nn.Module, precision: Precision) -> torch.nn.Module:
    """Cast the weights of convolutions and linear layers once, which autocast would do each pass.

    Norms, and weights that a network uses by itself, stay float32.

    Parameters
    ----------
    module
        The network, changed in place.
    precision
        What its forward pass will run in.
    """
    if precision != "float32":
        for layer in module.modules():
            # A subclass may do more with its weights than to hand them to the one operation.
            if type(layer) in _CAST:
                layer.to(getattr(torch, precision))
    return module


def autocast(device: str, precision: Precision) -> AbstractContextManager[Any]:
    """Context of a forward pass; thread-local, so every pass enters it anew."""
    if precision == "float32":
        return nullcontext()
    return torch.autocast(device, dtype=getattr(torch, precision))
