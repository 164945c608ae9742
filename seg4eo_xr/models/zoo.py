"""The networks: names, specification and construction, mostly by segmentation-models-pytorch.

The names are known without loading torch, so that options and command lines start quickly.
"""

from __future__ import annotations

import copy
import warnings
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from seg4eo_xr.options import suggestion

if TYPE_CHECKING:
    import torch
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
    "unet-dropout",
    "deeplabv3_resnet50",
]
MODELS: tuple[str, ...] = get_args(ModelName)

# The networks of segmentation_models_pytorch, by their class there.
_CLASS_NAMES = {
    "unet": "Unet",
    "unet++": "UnetPlusPlus",
    "fpn": "FPN",
    "pspnet": "PSPNet",
    "linknet": "Linknet",
    "manet": "MAnet",
    "pan": "PAN",
    "deeplabv3": "DeepLabV3",
    "deeplabv3+": "DeepLabV3Plus",
    "segformer": "Segformer",
    "upernet": "UPerNet",
    "dpt": "DPT",
}
# What a network raises that cannot take an image of some size or number.
_REFUSALS = (AssertionError, IndexError, RuntimeError, ValueError)
# Usual sides of patches in pixels, tried where a network refuses another one.
_SIDES = (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 384, 448, 512)

# The networks that have an encoder of their own, and its name.
OWN_ENCODERS = {"unet-dropout": "plain", "deeplabv3_resnet50": "resnet50"}


@dataclass(frozen=True)
class ModelSpec:
    """All that is needed to build a network anew.

    Parameters
    ----------
    model
        Architecture, one of `MODELS`.
    encoder_name
        Encoder, one of `list_encoders`, or any of timm's as ``tu-<name>``. ``unet-dropout`` has an
        encoder of its own, named ``plain``, and ``deeplabv3_resnet50`` has ``resnet50``, whatever
        is given.
    in_channels
        Bands of the input.
    out_channels
        Channels of the output: 1 for a binary network (the logit of the second class), else one
        logit a class.
    dropout_rate
        Share of the channels that a training step drops, of ``unet-dropout`` alone.
    """

    model: str
    encoder_name: str
    in_channels: int
    out_channels: int
    dropout_rate: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "encoder_name", OWN_ENCODERS.get(self.model, self.encoder_name))
        if not 0 <= self.dropout_rate < 1:
            raise ValueError(
                f"dropout_rate must be at least 0 and below 1, got {self.dropout_rate}"
            )
        for name in ("in_channels", "out_channels"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")


def list_models() -> tuple[str, ...]:
    """Names of the architectures.

    Returns
    -------
    tuple of str
        The common ones first.

    Examples
    --------
    >>> list_models()[:3]
    ('unet', 'unet++', 'fpn')
    """
    return MODELS


def list_encoders() -> tuple[str, ...]:
    """Names of the encoders; timm's others are reached as ``tu-<name>``.

    Returns
    -------
    tuple of str
        In alphabetical order.

    Examples
    --------
    >>> "resnet34" in list_encoders()
    True
    """
    return tuple(sorted(_library().encoders.get_encoder_names()))


def require_model(name: str) -> None:
    """Raise a ValueError that suggests the nearest names where there is no such architecture."""
    if name not in MODELS:
        raise ValueError(_unknown("model", name, MODELS, ", ".join(MODELS)))


def require_encoder(name: str) -> None:
    """Raise a ValueError that suggests the nearest names where there is no such encoder."""
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


def pretrained_weights(encoder_name: str) -> str | None:
    """Name of the published weights of an encoder: ImageNet's where there are some.

    Parameters
    ----------
    encoder_name
        Encoder, as a `ModelSpec` has it.

    Returns
    -------
    str or None
        None for the plain encoder of ``unet-dropout``, which starts from random numbers.

    Raises
    ------
    ValueError
        If the encoder is unknown.
    """
    if encoder_name == OWN_ENCODERS["unet-dropout"]:
        return None
    require_encoder(encoder_name)
    if encoder_name.startswith("tu-"):
        return "imagenet"
    offered = list(_library().encoders.encoders[encoder_name]["pretrained_settings"])
    return "imagenet" if "imagenet" in offered else str(offered[0])


def build_model(spec: ModelSpec, *, encoder_weights: str | Path | None = None) -> nn.Module:
    """Build a network from ``(N, in_channels, y, x)`` to logits ``(N, out_channels, y, x)``.

    Parameters
    ----------
    spec
        Architecture, encoder and channels.
    encoder_weights
        Name of published encoder weights, as `pretrained_weights` gives it, or the path of a local
        file; None starts from random numbers drawn from torch's generator. Weights of three bands
        are repeated over the bands of the network.

    Returns
    -------
    torch.nn.Module
        In training mode, on the CPU. It takes images of any size, and its part ``encoder`` is what
        pretrained weights and freezing are about.

    Raises
    ------
    ValueError
        If model, encoder or weights are unknown, or do not go together.
    OSError
        If the weights cannot be fetched, or there is no such file.

    Examples
    --------
    >>> network = build_model(ModelSpec("unet", "resnet18", in_channels=10, out_channels=6))
    >>> sum(weights.numel() for weights in network.encoder.parameters())
    11198464
    """
    require_model(spec.model)
    if _is_file_name(encoder_weights):
        from seg4eo_xr.models.encoder_weights import load_encoder_file

        network = _construct(spec, None)
        load_encoder_file(network.encoder, encoder_weights)  # type: ignore[arg-type]
        return network
    return _construct(spec, None if encoder_weights is None else str(encoder_weights))


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
    trial = copy.deepcopy(network).train()
    count = min(batch_size, 2)
    try:
        answer = _answer(trial, (count, spec.in_channels, patch_size, patch_size))
    except _REFUSALS as error:
        sides = _fitting_sides(trial, (count, spec.in_channels), patch_size)
        if sides:
            remedy = f"extract patches of {sides} px (patch_size, --patch_size)"
        else:
            remedy = "use a batch size of at least 2, patches of another size (as 224 or 256)"
        raise ValueError(
            f"model {spec.model!r} with encoder {spec.encoder_name!r} cannot train on batches of "
            f"{batch_size} patches of {patch_size} px: {_first_line(error)}; {remedy}, or use "
            "another model"
        ) from error
    if answer.shape[-2:] != (patch_size, patch_size):
        raise ValueError(
            f"model {spec.model!r} with encoder {spec.encoder_name!r} answers a patch of "
            f"{patch_size} px with {tuple(answer.shape[-2:])} px; choose another encoder"
        )


def takes_any_size(spec: ModelSpec) -> bool:
    """Whether a network surely takes images of any size; timm's encoders may not."""
    return not spec.encoder_name.startswith("tu-")


def window_refused(network: nn.Module, spec: ModelSpec, side: int, error: BaseException) -> str:
    """Say that a network refuses windows, and which ones it takes.

    Parameters
    ----------
    network
        The network, in evaluation mode on the CPU.
    spec
        What it was built from.
    side
        Side of the windows in pixels.
    error
        What it raised.
    """
    sides = _fitting_sides(network, (1, spec.in_channels), side)
    remedy = f"take windows of {sides} px" if sides else "take windows as large as in training"
    return (
        f"model {spec.model!r} with encoder {spec.encoder_name!r} cannot take windows of {side} "
        f"px: {_first_line(error)}; {remedy} (patch_size, --patch_size)"
    )


def require_window(network: nn.Module, spec: ModelSpec, side: int) -> None:
    """Raise a ValueError that names sizes that fit where a network refuses windows of a size.

    Parameters
    ----------
    network, spec, side
        As `window_refused` takes them.
    """
    if takes_any_size(spec):
        return
    try:
        _answer(network, (1, spec.in_channels, side, side))
    except _REFUSALS as error:
        raise ValueError(window_refused(network, spec, side, error)) from error


def _answer(network: nn.Module, shape: tuple[int, ...]) -> torch.Tensor:
    """Answer to an image of zeros, without a trace in torch's generators."""
    import torch

    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        answer: torch.Tensor = network(torch.zeros(shape))
        return answer


def _fitting_sides(network: nn.Module, shape: tuple[int, int], side: int) -> str:
    """Up to three usual sides near `side` that a network takes, in words; none if it takes none."""
    found: list[int] = []
    for trial in sorted(_SIDES, key=lambda one: abs(one - side)):
        with suppress(*_REFUSALS):
            answer = _answer(network, (*shape, trial, trial))
            if answer.shape[-2:] == (trial, trial):
                found.append(trial)
        if len(found) == 3:
            break
    return " or ".join(map(str, sorted(found)))


def _library() -> Any:
    import segmentation_models_pytorch

    return segmentation_models_pytorch


def _is_file_name(weights: str | Path | None) -> bool:
    """Tell a path from a name of published weights."""
    if weights is None:
        return False
    path = Path(weights)
    return isinstance(weights, Path) or bool(path.suffix) or len(path.parts) > 1 or path.is_file()


def _construct(spec: ModelSpec, weights: str | None) -> nn.Module:
    """Build a network, and say what is wrong where it cannot be built."""
    make = _own_network if spec.model in OWN_ENCODERS else _library_network
    try:
        return make(spec, weights)
    except OSError as error:
        raise OSError(
            f"cannot fetch the weights {weights!r} of the encoder {spec.encoder_name!r}: "
            f"{_first_line(error)}; check the network, give a local file (--encoder_weights), or "
            "train without: --no_pretrained (pretrained=False)"
        ) from error


def _own_network(spec: ModelSpec, weights: str | None) -> nn.Module:
    from seg4eo_xr.models.padding import Padded

    if weights not in (None, pretrained_weights(spec.encoder_name)):
        raise ValueError(
            f"model {spec.model!r} has no published weights {weights!r}; train without: "
            "--no_pretrained (pretrained=False)"
        )
    if spec.model == "unet-dropout":
        from seg4eo_xr.models.unet_dropout import UnetDropout

        plain = UnetDropout(spec.in_channels, spec.out_channels, spec.dropout_rate)
        return Padded(plain, UnetDropout.stride)
    from seg4eo_xr.models.deeplab import DeepLabV3ResNet50

    network = DeepLabV3ResNet50(spec.in_channels, spec.out_channels)
    if weights is not None:
        from torchvision.models import ResNet50_Weights

        from seg4eo_xr.models.encoder_weights import fill_encoder

        published = ResNet50_Weights.IMAGENET1K_V2.get_state_dict(progress=False, check_hash=True)
        fill_encoder(network.encoder, published, "torchvision's ResNet-50")
    return network


def _library_network(spec: ModelSpec, weights: str | None) -> nn.Module:
    from seg4eo_xr.models.hub import one_try
    from seg4eo_xr.models.padding import Padded

    require_encoder(spec.encoder_name)
    options: dict[str, Any] = {"in_channels": spec.in_channels, "classes": spec.out_channels}
    # timm keeps the weights' tag in the encoder's name
    is_timm = spec.encoder_name.startswith("tu-")
    options["encoder_weights"] = True if is_timm and weights is not None else weights
    if spec.model == "dpt":
        options["dynamic_img_size"] = True  # any multiple of the transformer's patch, not 224 alone
    make = getattr(_library(), _CLASS_NAMES[spec.model])
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="`timm-` encoders are deprecated")
            with nullcontext() if weights is None else one_try():
                network: nn.Module = make(spec.encoder_name, **options)
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise ValueError(
            f"model {spec.model!r} cannot be built with the encoder {spec.encoder_name!r}"
            f"{f' and weights {weights!r}' if weights else ''}: "
            f"{_first_line(error)}; choose another encoder, as resnet34 "
            "(for dpt a vision transformer, as tu-vit_base_patch16_224.augreg_in21k)"
        ) from error
    stride = int(network.encoder.output_stride)  # type: ignore[arg-type, union-attr]
    if spec.model == "pan":
        return Padded(network, stride, smallest=8 * stride)  # it halves its features three times
    # dpt merges its tokens two by two
    return Padded(network, 2 * stride if spec.model == "dpt" else stride)


def _unknown(what: str, name: str, known: tuple[str, ...], where: str) -> str:
    return f"unknown {what} {name!r}{suggestion(name, known) or '.'} Known: {where}"


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
