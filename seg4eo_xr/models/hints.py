"""What can be said of a checkpoint that does not say all itself."""

from __future__ import annotations

from dataclasses import dataclass, fields

from seg4eo_xr.models.zoo import require_model
from seg4eo_xr.options import OptionSet


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
    normalize_per_channel: bool | None = None
    """Divide each band of a patch by its own 99th percentile, and not all bands by a common one as
    SemanticSeg4EO's trainer does."""

    def __post_init__(self) -> None:
        if self.architecture is not None:
            require_model(self.architecture)
        size = self.training_patch_size
        if size is not None and size < 1:
            raise ValueError(f"training_patch_size must be at least 1 pixel, got {size}")

    def given(self) -> tuple[str, ...]:
        """Names of the hints that are not left out.

        Examples
        --------
        >>> CheckpointHints(architecture="unet").given()
        ('architecture',)
        """
        return tuple(one.name for one in fields(self) if getattr(self, one.name) is not None)
