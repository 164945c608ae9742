"""The networks: names, specification and construction over segmentation-models-pytorch.

The names are known without loading torch, so that options and command lines start quickly.
"""

from __future__ import annotations

import copy
import difflib
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

if TYPE_CHECKING:
    from torch import nn

ModelName = Literal[
    "unet",
    "unet++",
    "fpn",
    "pspnet",
    "linknet",
    "manet",
    "pan",
    "deeplabv3",
    "deeplabv3+",
    "segformer",
    "upernet",
    "dpt",
]
MODELS: tuple[str, ...] = get_args(ModelName)

# Names of the classes of segmentation_models_pytorch, in the order of MODELS.
_CLASS_NAMES = (
    "Unet",
    "UnetPlusPlus",
    "FPN",
    "PSPNet",
    "Linknet",
    "MAnet",
    "PAN",
    "DeepLabV3",
    "DeepLabV3Plus",
    "Segformer",
    "UPerNet",
    "DPT",
)


@dataclass(frozen=True)
class ModelSpec:
    """All that is needed to build a network anew.

    Parameters
    ----------
    model
        Architecture, one of `MODELS`.
    encoder_name
        Encoder, one of `list_encoders`, or any of timm's as ``tu-<name>``.
    in_channels
        Bands of the input.
    out_channels
        Channels of the output: 1 for a binary network (the logit of the second class), else one
        logit a class.
    """

    model: str
    encoder_name: str
    in_channels: int
    out_channels: int

    def __post_init__(self) -> None:
        for name in ("in_channels", "out_channels"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")


def list_models() -> tuple[str, ...]:
    """Names of the architectures.

    Examples
    --------
    >>> list_models()[:3]
    ('unet', 'unet++', 'fpn')
    """
    return MODELS


def list_encoders() -> tuple[str, ...]:
    """Names of the encoders; timm's others are reached as ``tu-<name>``."""
    return tuple(sorted(_library().encoders.get_encoder_names()))


def require_model(name: str) -> None:
    """Raise a ValueError that suggests the nearest names where there is no such architecture."""
    if name not in MODELS:
        raise ValueError(_unknown("model", name, MODELS, ", ".join(MODELS)))


def pretrained_weights(encoder_name: str) -> str:
    """Name of the published weights of an encoder: ImageNet's where there are some.

    Raises
    ------
    ValueError
        If the encoder is unknown.
    """
    _require_encoder(encoder_name)
    if encoder_name.startswith("tu-"):
        return "imagenet"
    offered = list(_library().encoders.encoders[encoder_name]["pretrained_settings"])
    return "imagenet" if "imagenet" in offered else str(offered[0])


def build_model(spec: ModelSpec, *, encoder_weights: str | None = None) -> nn.Module:
    """Build a network from ``(N, in_channels, y, x)`` to logits ``(N, out_channels, y, x)``.

    Parameters
    ----------
    spec
        Architecture, encoder and channels.
    encoder_weights
        Name of published encoder weights, as `pretrained_weights` gives it; None starts from random
        numbers drawn from torch's generator.

    Returns
    -------
    torch.nn.Module
        In training mode, on the CPU.

    Raises
    ------
    ValueError
        If model, encoder or weights are unknown, or do not go together.
    OSError
        If the weights cannot be fetched.

    Examples
    --------
    >>> network = build_model(ModelSpec("unet", "resnet18", in_channels=10, out_channels=6))
    >>> network.segmentation_head[0].out_channels
    6
    """
    require_model(spec.model)
    _require_encoder(spec.encoder_name)
    try:
        return _construct(spec, encoder_weights)
    except OSError as error:
        raise OSError(
            f"cannot fetch the weights {encoder_weights!r} of the encoder {spec.encoder_name!r}: "
            f"{_first_line(error)}; check the network, or train without them: "
            "--no_pretrained (pretrained=False)"
        ) from error
    except (
        AttributeError,
        KeyError,
        NotImplementedError,
        RuntimeError,
        TypeError,
        ValueError,
    ) as error:
        raise ValueError(
            f"model {spec.model!r} cannot be built with the encoder {spec.encoder_name!r}"
            f"{f' and weights {encoder_weights!r}' if encoder_weights else ''}: "
            f"{_first_line(error)}; choose another encoder, as resnet34 "
            "(for dpt a vision transformer, as tu-vit_base_patch16_224.augreg_in21k)"
        ) from error


def require_patch_size(
    network: nn.Module, spec: ModelSpec, patch_size: int, batch_size: int = 2
) -> None:
    """Run a copy of the network once, to learn early whether it takes these patches in training.

    Parameters
    ----------
    network
        A network on the CPU that `build_model` made of `spec`; it is left as it is.
    spec
        What the network was built from.
    patch_size
        Side of a patch in pixels.
    batch_size
        Patches a step.

    Raises
    ------
    ValueError
        If the network refuses the patches, or answers in another size.
    """
    import torch

    trial = copy.deepcopy(network).train()
    shape = (min(batch_size, 2), spec.in_channels, patch_size, patch_size)
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            answer = trial(torch.zeros(shape))
    except (AssertionError, RuntimeError, ValueError) as error:
        raise ValueError(
            f"model {spec.model!r} with encoder {spec.encoder_name!r} cannot train on batches of "
            f"{batch_size} patches of {patch_size} px: {_first_line(error)}; cut patches of a "
            "multiple of 32 px (as 128 or 256), use a batch size of at least 2, or another model"
        ) from error
    if answer.shape[-2:] != (patch_size, patch_size):
        raise ValueError(
            f"model {spec.model!r} with encoder {spec.encoder_name!r} answers a patch of "
            f"{patch_size} px with {tuple(answer.shape[-2:])} px; choose another encoder"
        )


def _library() -> Any:
    import segmentation_models_pytorch

    return segmentation_models_pytorch


def _construct(spec: ModelSpec, encoder_weights: str | None) -> nn.Module:
    options: dict[str, Any] = {"in_channels": spec.in_channels, "classes": spec.out_channels}
    weights: str | bool | None = encoder_weights
    if spec.encoder_name.startswith("tu-") and encoder_weights is not None:
        weights = True  # timm keeps the weights' tag in the encoder's name
    if spec.model == "dpt":
        options["dynamic_img_size"] = True  # any multiple of the transformer's patch, not 224 alone
    make = getattr(_library(), _CLASS_NAMES[MODELS.index(spec.model)])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="`timm-` encoders are deprecated")
        network: nn.Module = make(spec.encoder_name, encoder_weights=weights, **options)
    return network


def _require_encoder(name: str) -> None:
    if name.startswith("tu-"):
        import timm

        if timm.is_model(name.removeprefix("tu-")):
            return
        known = tuple(f"tu-{model}" for model in timm.list_models())
    else:
        known = list_encoders()
        if name in known:
            return
    raise ValueError(_unknown("encoder", name, known, "see list_encoders(), seg4eo-xr models"))


def _unknown(what: str, name: str, known: tuple[str, ...], where: str) -> str:
    close = difflib.get_close_matches(name.lower(), known, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(map(repr, close))}? " if close else ""
    return f"unknown {what} {name!r}; {hint}known: {where}"


def _first_line(error: BaseException) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0]
