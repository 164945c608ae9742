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
    bands, outputs = _channels(state)
    names = list_models() if architecture is None else (architecture,)
    if encoder_name is None:
        encoder_name = _find_encoder(state, bands)
    elif encoder_name not in OWN_ENCODERS.values():
        require_encoder(encoder_name)
    if encoder_name is None:
        names = tuple(name for name in names if name in OWN_ENCODERS)
    wrongs: dict[ModelSpec, list[str]] = {}
    for name in names:
        spec = ModelSpec(name, encoder_name or "", bands, outputs)
        try:
            shapes = _laid_out(lambda spec=spec: build_model(spec))  # type: ignore[misc]
        except ValueError:  # the encoder and this architecture do not go together
            if architecture is not None:
                raise
            continue
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


def _channels(state: Mapping[str, torch.Tensor]) -> tuple[int, int]:
    """Bands of the first convolution, and channels of the last."""
    kernels = [value for value in state.values() if value.ndim == 4]
    if not kernels:
        raise ValueError("its weights have no convolution, so they are not those of a network")
    return int(kernels[0].shape[1]), int(kernels[-1].shape[0])


def _find_encoder(state: Mapping[str, torch.Tensor], in_channels: int) -> str | None:
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
            if not misfits(_with_bands(_encoder_shapes(name), in_channels), part):
                return name
    return None


def _with_bands(shapes: Mapping[str, torch.Tensor], bands: int) -> dict[str, torch.Tensor]:
    """Give the first convolution another number of bands."""
    result = dict(shapes)
    stem = next(name for name, value in shapes.items() if value.ndim == 4)
    shape = shapes[stem].shape
    result[stem] = torch.empty((shape[0], bands, *shape[2:]), device="meta")
    return result


@cache
def _encoder_shapes(name: str) -> dict[str, torch.Tensor]:
    return _laid_out(lambda: get_encoder(name, weights=None))


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
