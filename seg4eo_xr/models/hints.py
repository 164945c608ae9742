"""What can be said of a checkpoint that does not say all itself."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Literal, get_args

from seg4eo_xr.models.zoo import require_model
from seg4eo_xr.options import OptionSet, require_choice
from seg4eo_xr.scenes.contract import Normalization

if TYPE_CHECKING:
    from collections.abc import Sequence

InputRule = Literal["patch", "none", "scale", "mean-std"]
_NUMBERS = ("normalization_divisor", "normalization_mean", "normalization_std")


@dataclass(frozen=True)
class CheckpointHints(OptionSet):
    """What to know of a checkpoint of SemanticSeg4EO or of plain weights.

    Everything has a default: what the file says, and what its weights tell.
    """

    architecture: str | None = None
    """Architecture, as `seg4eo-xr models` lists it; found from the weights if not given."""
    encoder_name: str | None = None
    """Encoder; found from the weights if not given, except timm's (tu-NAME)."""
    model_bands: tuple[str, ...] | None = None
    """Names of the bands in the network's order; if not given, a scene's bands are taken in their
    own order."""
    class_codes: tuple[int, ...] | None = None
    """Codes that the map gets for the classes; 0, 1, 2 and so on if not given."""
    class_names: tuple[str, ...] | None = None
    """Names of the classes."""
    training_patch_size: int | None = None
    """Side of the training patches in pixels; 224 if neither given nor in the file."""
    normalization: InputRule | None = None
    """How the training normalised the stored numbers: none leaves them as they are, scale divides
    them by normalization_divisor, mean-std then subtracts normalization_mean and divides by
    normalization_std; patch divides each window by its 99th percentile, as SemanticSeg4EO does, and
    is the default."""
    normalization_divisor: float | None = None
    """With scale or mean-std: divisor of the stored numbers, as 255 or 10000."""
    normalization_mean: tuple[float, ...] | None = None
    """With mean-std: mean of the input, after the divisor; one number, or one per band."""
    normalization_std: tuple[float, ...] | None = None
    """With mean-std: standard deviation of the input, after the divisor; one number, or one per
    band."""
    normalize_per_channel: bool | None = None
    """With patch: divide each band of a window by its own 99th percentile. SemanticSeg4EO's
    trainer and its prediction command take one percentile of all bands."""

    def __post_init__(self) -> None:
        if self.architecture is not None:
            object.__setattr__(self, "architecture", self.architecture.lower())
            require_model(self.architecture)
        size = self.training_patch_size
        if size is not None and size < 1:
            raise ValueError(f"training_patch_size must be at least 1 pixel, got {size}")
        self._require_rule()

    def _require_rule(self) -> None:
        """Raise a ValueError where the numbers given are not those that the rule takes."""
        rule = self.normalization
        if rule is not None:
            require_choice("normalization", rule, get_args(InputRule))
        needed = {"scale": _NUMBERS[:1], "mean-std": _NUMBERS[1:]}.get(rule or "patch", ())
        taken = _NUMBERS if rule == "mean-std" else needed
        for name in _NUMBERS:
            value = getattr(self, name)
            if value is None and name in needed:
                raise ValueError(f"normalization {rule!r} needs {name} (--{name})")
            if value is not None and name not in taken:
                wanted = "mean-std" if name != "normalization_divisor" else "scale or mean-std"
                raise ValueError(
                    f"{name} is used with normalization {wanted} only, got normalization {rule!r}; "
                    f"set it (--normalization), or leave {name} out"
                )
        for name in ("normalization_divisor", "normalization_std"):
            given = getattr(self, name)
            numbers = given if isinstance(given, tuple) else () if given is None else (given,)
            if not all(0 < number < math.inf for number in numbers):
                raise ValueError(f"{name} must be above 0, got {given}")
        if self.normalize_per_channel and rule not in (None, "patch"):
            raise ValueError(
                f"normalize_per_channel is used with normalization 'patch' only, got {rule!r}; "
                "leave one of them out"
            )

    def normalization_of(self, bands: int) -> Normalization:
        """Rule for a network of so many bands, from its stored numbers to its input.

        Raises
        ------
        ValueError
            If there are neither one number nor one per band.

        Examples
        --------
        >>> rule = CheckpointHints(normalization="scale", normalization_divisor=10000.0)
        >>> rule.normalization_of(2).upper
        (10000.0, 10000.0)
        """
        zeros, ones = (0.0,) * bands, (1.0,) * bands
        if self.normalization == "none":
            return Normalization("none", zeros, ones, of_stored=True)
        if self.normalization in ("scale", "mean-std"):
            divisor = self.normalization_divisor or 1.0
            mean = _each("normalization_mean", self.normalization_mean or (0.0,), bands)
            std = _each("normalization_std", self.normalization_std or (1.0,), bands)
            lower = tuple(number * divisor for number in mean)
            upper = tuple((one + more) * divisor for one, more in zip(mean, std, strict=True))
            return Normalization("standard", lower, upper, of_stored=True)
        if self.normalize_per_channel:
            return Normalization("patch_percentile", zeros, ones)
        return Normalization("patch_percentile_all_bands", zeros, ones)

    def given(self) -> tuple[str, ...]:
        """Names of the hints that are not left out.

        Examples
        --------
        >>> CheckpointHints(architecture="unet").given()
        ('architecture',)
        """
        return tuple(one.name for one in fields(self) if getattr(self, one.name) is not None)


def _each(option: str, given: Sequence[float], bands: int) -> tuple[float, ...]:
    if len(given) not in (1, bands):
        raise ValueError(
            f"{option} gives {len(given)} numbers {list(given)}, the network takes {bands} bands; "
            "give one number, or one per band"
        )
    return tuple(given) if len(given) == bands else (*given,) * bands
