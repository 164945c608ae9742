"""Pretrained weights of encoders, brought onto any number of bands."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from seg4eo_xr.models.files import listed, misfits, read_weights, tensors_of, without_wrapper

if TYPE_CHECKING:
    import torch
    from torch import nn

# What classifiers of images have besides their encoder.
_HEADS = {"fc", "_fc", "classifier", "head", "last_linear"}
_REMEDY = (
    "give a file of the encoder's weights alone or of a whole network with it, of torch.save or "
    "safetensors, or train without: --no_pretrained (pretrained=False)"
)


def load_encoder_file(encoder: nn.Module, path: str | Path) -> None:
    """Load a local file's weights into an encoder, all of them or none.

    Parameters
    ----------
    encoder
        The network's encoder, changed in place.
    path
        A file of ``torch.save`` or safetensors: a state dict, alone or under ``state_dict``,
        ``model_state_dict`` or ``model``, of the encoder, of an image classifier, or of a
        segmentation network.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it cannot be read safely, or its weights are not those of the encoder.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no file of encoder weights {path}; {_REMEDY}")
    content = read_weights(path, _REMEDY)
    try:
        state = without_wrapper(tensors_of(state_dict_of(content)))
    except TypeError as error:
        raise ValueError(f"{path} holds no encoder weights: {error}; {_REMEDY}") from error
    inner = {name: value for name, value in state.items() if name.startswith("encoder.")}
    fill_encoder(encoder, without_wrapper(inner) if inner else state, str(path))


def state_dict_of(content: object) -> object:
    """Find the state dict in what a file holds; the content itself where no name leads to one."""
    if isinstance(content, Mapping):
        for name in ("model_state_dict", "state_dict", "model"):
            if isinstance(content.get(name), Mapping):
                return content[name]
    return content


def fill_encoder(encoder: nn.Module, state: Mapping[str, torch.Tensor], source: str) -> None:
    """Put weights into an encoder, in place.

    A first convolution of three bands is repeated over the bands of the encoder and scaled, so that
    its answer keeps its size; for one band it is summed.

    Parameters
    ----------
    encoder
        The encoder.
    state
        Its weights; those of a classifier's head are left out.
    source
        Where the weights are from, for messages.

    Raises
    ------
    ValueError
        If names or shapes are others than the encoder's; they are listed.
    """
    expected = encoder.state_dict()
    bare = without_wrapper(expected)
    prefix = next(iter(expected)).removesuffix(next(iter(bare)))
    kept = {name: value for name, value in state.items() if name.partition(".")[0] not in _HEADS}
    fitted = {
        name: _over_bands(value, bare[name]) if name in bare else value
        for name, value in without_wrapper(kept).items()
    }
    wrong = misfits(bare, fitted)
    if wrong:
        raise ValueError(f"{source} does not fit the encoder: {listed(wrong)}; {_REMEDY}")
    encoder.load_state_dict({prefix + name: value for name, value in fitted.items()})


def _over_bands(value: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Bring a convolution of three bands onto those of `like`; what fits, or never can, stays."""
    if value.ndim != 4 or value.shape == like.shape or value.shape[1] != 3:
        return value
    if like.shape[1] == 1:
        return value.sum(1, keepdim=True)
    bands = [band % 3 for band in range(like.shape[1])]
    return value[:, bands] * (3 / len(bands))
