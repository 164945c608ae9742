"""Batch norms folded into the convolutions before them: the same function in fewer passes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn.utils.fusion import fuse_conv_bn_eval as fused

if TYPE_CHECKING:
    from collections.abc import Callable

# How far a folded network's answers may lie from the plain one's, by the largest of them.
_TOLERANCE = 1e-3


def fold_batch_norms(module: torch.nn.Module, example: torch.Tensor) -> torch.nn.Module:
    """Fold each batch norm that directly follows a convolution into it.

    Which ones do is seen in one pass over `example`, not guessed from names. The result is held
    against the plain network; where the two differ, as they do if a network uses a convolution's
    output elsewhere as well, the plain one is put together again.

    Parameters
    ----------
    module
        Network in evaluation mode, float32, on the CPU; changed in place.
    example
        An input that it accepts, ``(batch, band, y, x)``.

    Returns
    -------
    Module
        The network.

    Examples
    --------
    >>> layers = torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2), torch.nn.ReLU()
    >>> fold_batch_norms(torch.nn.Sequential(*layers).eval(), torch.ones(1, 1, 8, 8))[1]
    Identity()
    """
    # Not in inference mode, whose tensors would be no weights like others.
    with torch.no_grad():
        expected, pairs = _watch(module, example)
        if not pairs:
            return module
        plain = {name: module.get_submodule(name) for pair in pairs for name in pair}
        for convolution, norm in pairs:
            _fold(module, convolution, norm)
        if not _agree(module(example), expected):
            for name, layer in plain.items():
                module.set_submodule(name, layer)
    return module


def _watch(
    module: torch.nn.Module, example: torch.Tensor
) -> tuple[torch.Tensor, list[tuple[str, str]]]:
    """Run once; return the answer, and the names of convolutions and norms that form pairs."""
    # Tensors are kept, so that no two of them share an id.
    made: dict[int, tuple[str, torch.Tensor]] = {}
    calls: dict[str, int] = {}
    pairs: dict[str, str] = {}

    def hook(name: str) -> Callable[..., None]:
        def see(layer: torch.nn.Module, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
            calls[name] = calls.get(name, 0) + 1
            if isinstance(layer, torch.nn.Conv2d):
                made[id(output)] = (name, output)
            elif id(inputs[0]) in made:
                pairs[name] = made[id(inputs[0])][0]

        return see

    layers = {name: layer for name, layer in module.named_modules() if _is_candidate(layer)}
    handles = [layer.register_forward_hook(hook(name)) for name, layer in layers.items()]
    try:
        answer = module(example)
    finally:
        for handle in handles:
            handle.remove()
    return answer, [
        (convolution, norm)
        for norm, convolution in pairs.items()
        if calls[norm] == calls[convolution] == 1
    ]


def _is_candidate(layer: torch.nn.Module) -> bool:
    # A subclass may compute something else.
    if type(layer) is torch.nn.BatchNorm2d:
        return layer.track_running_stats and not layer.training
    return type(layer) is torch.nn.Conv2d


def _fold(module: torch.nn.Module, convolution: str, norm: str) -> None:
    layer, follower = module.get_submodule(convolution), module.get_submodule(norm)
    assert isinstance(layer, torch.nn.Conv2d)  # as `_watch` has seen
    assert isinstance(follower, torch.nn.BatchNorm2d)
    module.set_submodule(convolution, fused(layer, follower))
    module.set_submodule(norm, torch.nn.Identity())


def _agree(answer: torch.Tensor, expected: torch.Tensor) -> bool:
    limit = _TOLERANCE * expected.abs().max()
    return answer.shape == expected.shape and bool(((answer - expected).abs() <= limit).all())
