"""Holding the encoder still for the first epochs of a training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from seg4eo_xr.training.config import TrainConfig

# Rate of an encoder that was frozen, as a share of the rate of all else.
UNFROZEN_SHARE = 0.1
_NAMES = ("encoder", "backbone")


def encoder_of(network: torch.nn.Module) -> torch.nn.Module:
    """Return the part of a network that turns an image into features.

    Raises
    ------
    ValueError
        If the network has none.
    """
    module: torch.nn.Module
    for name, module in network.named_modules():
        if name.rpartition(".")[2] in _NAMES:
            return module
    raise ValueError(
        f"a {type(network).__name__} has no encoder that could be held still; "
        "leave out --freeze_encoder, or choose another model"
    )


def hold(encoder: torch.nn.Module, frozen: bool) -> None:
    """Freeze an encoder or free it; while frozen its batch statistics do not drift either.

    Parameters
    ----------
    encoder
        Changed in place.
    frozen
        True: no gradients and evaluation mode, in which batch normalisation only uses its
        statistics and dropout is off.
    """
    encoder.requires_grad_(not frozen)
    encoder.train(not frozen)


def parameter_groups(network: torch.nn.Module, config: TrainConfig) -> list[dict[str, Any]]:
    """Parameters for the optimiser: an encoder that is frozen at first has a rate of its own.

    Parameters
    ----------
    network
        All its parameters are in one of the groups.
    config
        ``freeze_encoder`` and ``learning_rate``.
    """
    if not config.freeze_encoder:
        return [{"params": list(network.parameters()), "lr": config.learning_rate}]
    encoder = list(encoder_of(network).parameters())
    own = {id(parameter) for parameter in encoder}
    others = [parameter for parameter in network.parameters() if id(parameter) not in own]
    return [
        {"params": others, "lr": config.learning_rate},
        {"params": encoder, "lr": config.learning_rate * UNFROZEN_SHARE},
    ]
