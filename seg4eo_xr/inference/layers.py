"""The layers of a map, made from blended probabilities in fixed point."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from seg4eo_xr.geometry.blending import FIXED_POINT

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

LayerName = Literal["classes", "confidence", "probabilities"]


@dataclass(frozen=True)
class MapEncoding:
    """How blended probabilities become the numbers of a map.

    Parameters
    ----------
    codes
        Class codes in the order of the network's outputs.
    threshold
        Probability from which a binary network's pixel belongs to the second class; None where the
        network has one output a class.
    nodata
        Code of missing pixels in the class layer; the other layers hold NaN there.
    layers
        Which layers to make.
    """

    codes: tuple[int, ...]
    threshold: float | None
    nodata: int
    layers: tuple[LayerName, ...]

    def __post_init__(self) -> None:
        map_format(self.codes, self.nodata)
        if self.threshold is not None and not 0 < self.threshold < 1:
            raise ValueError(f"threshold must lie between 0 and 1, got {self.threshold}")

    @property
    def channels(self) -> int:
        """Outputs of the network: one a class, or a single one where there is a threshold."""
        return len(self.codes) if self.threshold is None else 1

    def dtype(self, layer: LayerName) -> np.dtype[Any]:
        """Dtype of a layer."""
        if layer == "classes":
            return map_format(self.codes, self.nodata)[0]
        return np.dtype(np.float32)

    def empty(self, height: int, width: int) -> dict[LayerName, np.ndarray]:
        """Uninitialised layers of that size."""
        shapes = {"probabilities": (len(self.codes), height, width)}
        return {
            layer: np.empty(shapes.get(layer, (height, width)), self.dtype(layer))
            for layer in self.layers
        }

    def finalise(self, sums: torch.Tensor) -> dict[LayerName, np.ndarray]:
        """Turn finished sums into layers, before missing pixels are marked.

        Parameters
        ----------
        sums
            Blended probabilities × `FIXED_POINT`, int32, ``(channel, y, x)``.

        Returns
        -------
        dict
            Layer name to array, ``(y, x)`` or, for probabilities, ``(class, y, x)``.
        """
        import torch

        result: dict[LayerName, np.ndarray] = {}
        if self.threshold is None:
            best, index = sums.max(0)
        else:
            index = (sums[0] >= round(self.threshold * FIXED_POINT)).to(torch.int64)
            best = torch.maximum(sums[0], FIXED_POINT - sums[0])
        for layer in self.layers:
            if layer == "classes":
                # torch has no indexing of 16-bit codes, and indices cross from a device as bytes
                codes = np.array(self.codes, self.dtype("classes"))
                result[layer] = codes[index.to(torch.uint8).cpu().numpy()]
            elif layer == "confidence":
                result[layer] = _probability(best).cpu().numpy()
            else:
                values = _probability(sums)
                if self.threshold is not None:
                    values = torch.cat([1 - values, values])
                result[layer] = values.cpu().numpy()
        return result

    def mark_missing(self, layers: dict[LayerName, np.ndarray], valid: np.ndarray) -> None:
        """Write nodata where `valid`, ``(y, x)`` bool, is False; in place."""
        for layer, values in layers.items():
            values[..., ~valid] = self.nodata if layer == "classes" else np.nan


_FORMATS = ((np.uint8, 255), (np.uint16, 65535), (np.int16, -32768))


def map_format(codes: Sequence[int], nodata: int | None = None) -> tuple[np.dtype[Any], int]:
    """Choose the dtype of a map's class layer, and its nodata code.

    Parameters
    ----------
    codes
        Codes of the classes.
    nodata
        Code of missing pixels, if it is settled.

    Returns
    -------
    dtype, int
        The first that holds the codes and one more: uint8 with nodata 255; uint16 with 65535, for
        which a GeoTIFF still has colours; int16 with -32768, for negative codes.

    Raises
    ------
    ValueError
        If `nodata` is a class or not of 16 bits.

    Examples
    --------
    >>> map_format([10, 95]), map_format([111, 523]), map_format([-1, 1])
    ((dtype('uint8'), 255), (dtype('uint16'), 65535), (dtype('int16'), -32768))
    >>> map_format([0, 1], nodata=-1)
    (dtype('int16'), -1)
    """
    if nodata in codes:
        raise ValueError(
            f"output_nodata {nodata} is the code of a class; the classes are {tuple(codes)}"
        )
    for dtype, usual in _FORMATS:
        missing = usual if nodata is None else nodata
        limits = np.iinfo(dtype)
        inside = all(limits.min <= code <= limits.max for code in (*codes, missing))
        if inside and missing not in codes:
            return np.dtype(dtype), missing
    raise ValueError(
        f"no type of 16 bits holds the classes {tuple(codes)} and the nodata code "
        f"{'-32768' if nodata is None else nodata}; set another output_nodata"
    )


def _probability(sums: torch.Tensor) -> torch.Tensor:
    # Rounding of many windows' shares can add up to a few units above one.
    return sums.clamp(0, FIXED_POINT).float() / FIXED_POINT
