"""The eight symmetries of the square: turned and mirrored windows, and their answers put back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

_SYMMETRIES = tuple((turns, mirrored) for mirrored in (False, True) for turns in range(4))

SYMMETRIES = len(_SYMMETRIES)
"""Forward passes that an average over all symmetries takes."""


def average_over_symmetries(
    answer: Callable[[torch.Tensor], torch.Tensor], batch: torch.Tensor
) -> torch.Tensor:
    """Average a network's answers to the eight pictures of each window.

    Parameters
    ----------
    answer
        Turns ``(batch, band, y, x)`` into probabilities ``(batch, channel, y, x)``.
    batch
        Square windows.

    Returns
    -------
    Tensor of float32, ``(batch, channel, y, x)``
        The mean of the eight answers, each turned back.

    Raises
    ------
    ValueError
        If windows are not square, as a quarter turn would change their shape.

    Examples
    --------
    >>> window = torch.arange(4.0).reshape(1, 1, 2, 2)
    >>> bool((average_over_symmetries(lambda batch: batch, window) == window).all())
    True
    >>> average_over_symmetries(lambda batch: batch.cummax(-1).values, window).flatten().tolist()
    [0.75, 1.5, 2.25, 3.0]
    """
    if batch.shape[-2] != batch.shape[-1]:
        raise ValueError(
            f"tta needs square windows, got {tuple(batch.shape[-2:])} px; "
            "set one patch_size for both axes, or leave tta out"
        )
    total: torch.Tensor | None = None
    for turns, mirrored in _SYMMETRIES:
        picture = torch.rot90(batch.flip(-1) if mirrored else batch, turns, (-2, -1))
        # A network's bits may depend on how its input lies in memory.
        seen = torch.empty_like(batch).copy_(picture)
        back = torch.rot90(answer(seen), -turns, (-2, -1))
        back = back.flip(-1) if mirrored else back
        # Always in this order: sums of floats depend on it.
        total = back.contiguous() if total is None else total.add_(back)
    assert total is not None  # there are eight of them
    return total.div_(SYMMETRIES)
