"""Files of weights: read without running code that they might hold, and compared by name."""

from __future__ import annotations

import pickle
import re
import zipfile
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy._core.multiarray import scalar

if TYPE_CHECKING:
    from pathlib import Path

# NumPy's single numbers in a pickle: a function, under its name in NumPy 1 and 2, and the dtypes.
_SAFE: list[Any] = [
    np.dtype,
    *{type(np.dtype(code)) for code in "?bhilqBHILQefd"},
    (scalar, "numpy._core.multiarray.scalar"),
    (scalar, "numpy.core.multiarray.scalar"),
]
_SHOWN = 8


def read_weights(path: Path, remedy: str) -> object:
    """Read a file of ``torch.save`` or of safetensors; no code that it might hold is run.

    Parameters
    ----------
    path
        The file, which exists.
    remedy
        What to do about a file that is none, as the end of a sentence.

    Returns
    -------
    object
        Tensors on the CPU, NumPy scalars and plain values, in dicts and lists.

    Raises
    ------
    ValueError
        If the file is of neither kind, is damaged, or holds anything else.
    """
    if path.suffix == ".safetensors":
        return _read_safetensors(path, remedy)
    # torch has written zip archives since 1.6; a cut file lacks the archive's directory at its end
    if not zipfile.is_zipfile(path):
        raise ValueError(
            f"{path} ({path.stat().st_size} bytes) is no checkpoint, or is cut off; {remedy}, "
            "or copy it again"
        )
    if _is_program(path):
        raise ValueError(
            f"{path} holds a TorchScript program, which is code: refused; save the weights alone, "
            f"torch.save(network.state_dict(), 'weights.pth'), or {remedy}"
        )
    try:
        with torch.serialization.safe_globals(_SAFE):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        found = re.search(r"GLOBAL ([\w.]+)", str(error))
        raise ValueError(
            f"{path} holds more than tensors and plain values{f' ({found[1]})' if found else ''}, "
            f"so reading it could run code from the file: refused; {remedy}"
        ) from error
    except OSError:
        raise
    except Exception as error:  # a damaged archive or pickle can raise anything
        raise ValueError(f"{path} is damaged or no checkpoint ({error}); {remedy}") from error


def _is_program(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("/constants.pkl") for name in archive.namelist())
    except zipfile.BadZipFile:
        return False  # damaged, which torch says as well


def _read_safetensors(path: Path, remedy: str) -> dict[str, torch.Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path, device="cpu")
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged or no safetensors file ({error}); {remedy}") from error


def tensors_of(mapping: object) -> dict[str, torch.Tensor]:
    """Take a state dict for what it is.

    Raises
    ------
    TypeError
        If it is no mapping, or not of tensors alone.
    """
    if not isinstance(mapping, Mapping):
        raise TypeError(f"model_state_dict is {kind_of(mapping)}")
    wrong = [name for name, value in mapping.items() if not isinstance(value, torch.Tensor)]
    if wrong:
        raise TypeError(f"model_state_dict holds no tensor under {wrong[:3]}")
    return dict(mapping)


def without_wrapper(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Drop the first parts of the names that all weights share, as DataParallel's ``module.``.

    Examples
    --------
    >>> sorted(without_wrapper({"module.a.weight": torch.ones(1), "module.b": torch.ones(1)}))
    ['a.weight', 'b']
    """
    state = dict(state)
    while state:
        first = {name.partition(".")[0] for name in state}
        if len(first) > 1 or not all("." in name for name in state):
            break
        state = {name.partition(".")[2]: value for name, value in state.items()}
    return state


def misfits(expected: Mapping[str, torch.Tensor], found: Mapping[str, torch.Tensor]) -> list[str]:
    """Tell where weights differ from those of a network by name or shape, in words.

    Examples
    --------
    >>> misfits({"a": torch.ones(2), "b": torch.ones(1)}, {"a": torch.ones(3), "c": torch.ones(1)})
    ['b is missing', 'c is unknown', 'a has the shape (3,), not (2,)']
    """
    missing = [f"{name} is missing" for name in expected if name not in found]
    unknown = [f"{name} is unknown" for name in found if name not in expected]
    shapes = [
        f"{name} has the shape {tuple(value.shape)}, not {tuple(expected[name].shape)}"
        for name, value in found.items()
        if name in expected and value.shape != expected[name].shape
    ]
    return [*missing, *unknown, *shapes]


def listed(parts: list[str]) -> str:
    """Put the first of many parts into one line, and count the others."""
    others = f" and {len(parts) - _SHOWN} more" if len(parts) > _SHOWN else ""
    return "; ".join(parts[:_SHOWN]) + others


def kind_of(value: Any) -> str:
    """Name a value's type, for messages."""
    return f"a {type(value).__name__}"
