"""Find the architecture of weights from their names and shapes."""

from __future__ import annotations

import warnings
from collections import defaultdict
from functools import cache
from typing import TYPE_CHECKING

import torch
from segmentation_models_pytorch.encoders import encoders, get_encoder

from seg4eo_xr.models.files import listed, misfits
from seg4eo_xr.models.zoo import (
    OWN_ENCODERS,
    ModelSpec,
    build_model,
    list_encoders,
    list_models,
    require_encoder,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import nn

_REMEDY = "say what it is (--architecture, --encoder_name; `seg4eo-xr models` lists them)"


def find_spec(
    state: Mapping[str, torch.Tensor],
    architecture: str | None = None,
    encoder_name: str | None = None,
) -> ModelSpec:
    """Find the network that has exactly these weights.

    Parameters
    ----------
    state
        Weights and buffers by name.
    architecture, encoder_name
        What is known of it; the rest is found, except for timm's encoders (``tu-<name>``).

    Returns
    -------
    ModelSpec

    Raises
    ------
    ValueError
        If no network has these weights, or what is known does not fit; the names and shapes that
        differ are listed.

    Examples
    --------
    >>> weights = build_model(ModelSpec("fpn", "resnet18", 4, 3)).state_dict()
    >>> find_spec(weights)
    ModelSpec(model='fpn', encoder_name='resnet18', in_channels=4, out_channels=3, dropout_rate=0.0)
    """
    if not any(value.ndim == 4 for value in state.values()):
        raise ValueError("its weights have no convolution, so they are not those of a network")
    names = list_models() if architecture is None else (architecture,)
    if encoder_name is None:
        encoder_name = _find_encoder(state)
    elif encoder_name not in OWN_ENCODERS.values():
        require_encoder(encoder_name)
    if encoder_name is None:
        names = tuple(name for name in names if name in OWN_ENCODERS)
    wrongs: dict[ModelSpec, list[str]] = {}
    for name in names:
        try:
            shapes = _network_shapes(name, encoder_name or "")
        except ValueError:  # the encoder and this architecture do not go together
            if architecture is not None:
                raise
            continue
        shapes, bands, outputs = _with_channels(shapes, state)
        spec = ModelSpec(name, encoder_name or "", bands, outputs)
        wrongs[spec] = misfits(shapes, state)
        if not wrongs[spec]:
            return spec
    raise ValueError(_unknown(state, wrongs, encoder_name))


def _unknown(
    state: Mapping[str, torch.Tensor],
    wrongs: Mapping[ModelSpec, list[str]],
    encoder_name: str | None,
) -> str:
    if encoder_name is None:
        first = [name for name in state if name.startswith("encoder.")] or list(state)
        what = f"no known encoder has weights with names and shapes as {listed(first)}"
        return f"{what}; {_REMEDY}"
    spec = min(wrongs, key=lambda spec: len(wrongs[spec]))
    nearest = "" if len(wrongs) == 1 else "the nearest network, "
    return (
        f"the weights are not those of {nearest}model {spec.model!r} with encoder "
        f"{spec.encoder_name!r}: {listed(wrongs[spec])}; {_REMEDY}"
    )


def _find_encoder(state: Mapping[str, torch.Tensor]) -> str | None:
    prefix = "encoder."
    part = {
        name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)
    }
    families = defaultdict(list)
    for name in list_encoders():
        families[encoders[name]["encoder"]].append(name)
    for names in families.values():
        # A family's members have their first weights' name in common, and only them need a look.
        if next(iter(_encoder_shapes(names[0]))) not in part:
            continue
        for name in names:
            shapes = _encoder_shapes(name)
            if not misfits(_resized(shapes, _kernels(shapes)[0], 1, part), part):
                return name
    return None


def _with_channels(
    shapes: Mapping[str, torch.Tensor], state: Mapping[str, torch.Tensor]
) -> tuple[dict[str, torch.Tensor], int, int]:
    """Give a network's layout the bands and outputs of weights, which are found by name.

    A file may hold its weights in any order, but a layout has them as the network is built: the
    first convolution takes the bands, and the last one gives the outputs.
    """
    kernels = _kernels(shapes)
    first, last = kernels[0], kernels[-1]
    result = _resized(shapes, first, 1, state)
    for name in (last, last.removesuffix("weight") + "bias"):
        result = _resized(result, name, 0, state)
    return result, result[first].shape[1], result[last].shape[0]


def _kernels(shapes: Mapping[str, torch.Tensor]) -> list[str]:
    return [name for name, value in shapes.items() if value.ndim == 4]


def _resized(
    shapes: Mapping[str, torch.Tensor], name: str, axis: int, state: Mapping[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """Give one weight of a layout the length along an axis that it has in `state`, if it is one."""
    result = dict(shapes)
    if name in result and name in state and state[name].ndim == result[name].ndim:
        shape = list(result[name].shape)
        shape[axis] = state[name].shape[axis]
        result[name] = torch.empty(shape, device="meta")
    return result


@cache
def _encoder_shapes(name: str) -> dict[str, torch.Tensor]:
    return _laid_out(lambda: get_encoder(name, weights=None))


def _network_shapes(model: str, encoder_name: str) -> dict[str, torch.Tensor]:
    return _laid_out(lambda: build_model(ModelSpec(model, encoder_name, 3, 2)))


def _laid_out(build: Callable[[], nn.Module]) -> dict[str, torch.Tensor]:
    """Names and shapes of a network's weights, without the memory for them."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="`timm-` encoders are deprecated")
        try:
            with torch.device("meta"):
                state = build().state_dict()
        except (RuntimeError, ValueError):  # some compute with numbers while they are built
            with torch.random.fork_rng(devices=[]):
                state = build().state_dict()
    return {name: value.to("meta") for name, value in state.items()}
