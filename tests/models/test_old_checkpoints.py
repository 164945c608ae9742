from __future__ import annotations

import pickle
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import segmentation_models_pytorch as smp
import torch
from numpy._core.multiarray import scalar
from safetensors.torch import save_file

import seg4eo_xr as seg
from seg4eo_xr.models import detection
from seg4eo_xr.models.checkpoint import load_checkpoint, save_checkpoint
from seg4eo_xr.models.zoo import ModelSpec, build_model, list_encoders, list_models
from seg4eo_xr.testing import synthetic_sentinel2

PATCH = {"normalization": "patch"}


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    torch.manual_seed(0)
    return smp.UnetPlusPlus("resnet18", encoder_weights=None, in_channels=4, classes=3).eval()


def saved(content: object, path: Path) -> Path:
    torch.save(content, path)
    return path


def final(network: torch.nn.Module) -> dict[str, Any]:
    return {
        "model_state_dict": network.state_dict(),
        "config": {
            "model_name": "unet++",
            "encoder_name": "resnet18",
            "in_channels": 4,
            "num_classes": 3,
            "mode": "multiclass",
            "patch_size": np.int64(96),
            "class_names": ["soil", "water", "wood"],
            "learning_rate": np.float64(5e-4),
            "use_amp": np.bool_(True),
        },
        "performance_metrics": {
            "best_val_iou": np.float32(0.5),
            "per_class_iou": [np.float64(0.25), np.float64("nan")],
        },
    }


def best(network: torch.nn.Module) -> dict[str, Any]:
    return {"model_state_dict": network.state_dict(), "epoch": 3, "val_iou": np.float64(0.5)}


def plain(network: torch.nn.Module) -> dict[str, Any]:
    return network.state_dict()


def parallel(network: torch.nn.Module) -> dict[str, Any]:
    return {"state_dict": torch.nn.DataParallel(network).state_dict()}


@pytest.mark.parametrize(
    ("write", "hints"),
    [(final, {}), (best, {}), (plain, PATCH), (parallel, PATCH)],
)
def test_the_old_tools_files_load_and_answer_as_before(
    network, write, hints, tmp_path: Path
) -> None:
    found = load_checkpoint(saved(write(network), tmp_path / "old.pth"), **hints)
    assert found.spec == ModelSpec("unet++", "resnet18", 4, 3)
    assert found.mode == "multiclass"
    assert found.contract.bands == ("band_1", "band_2", "band_3", "band_4")
    assert found.contract.classes.codes == (0, 1, 2)
    assert found.contract.normalization.kind == "patch_percentile_all_bands"
    image = torch.rand(1, 4, 64, 64)
    with torch.inference_mode():
        assert torch.equal(found.build()(image), network(image))


def test_what_the_file_says_is_kept_as_plain_values(network, tmp_path: Path) -> None:
    found = load_checkpoint(saved(final(network), tmp_path / "old_final.pth"))
    assert found.patch_size == 96
    assert found.contract.classes.names == ("soil", "water", "wood")
    assert found.config["learning_rate"] == 5e-4
    assert found.config["use_amp"] is True
    assert found.metrics["per_class_iou"][0] == 0.25


def test_hints_are_stronger_than_the_file(network, tmp_path: Path) -> None:
    found = load_checkpoint(
        saved(final(network), tmp_path / "old_final.pth"),
        model_bands=("blue", "green", "red", "nir"),
        class_codes=(10, 20, 30),
        class_names=("a", "b", "c"),
        training_patch_size=64,
    )
    assert found.contract.bands == ("blue", "green", "red", "nir")
    assert found.contract.classes.codes == (10, 20, 30)
    assert found.contract.classes.names == ("a", "b", "c")
    assert found.patch_size == 64


def test_an_old_checkpoint_can_be_saved_as_ours(network, tmp_path: Path) -> None:
    old = load_checkpoint(saved(best(network), tmp_path / "old.pth"))
    ours = load_checkpoint(save_checkpoint(old, tmp_path / "ours.pth"))
    assert ours.spec == old.spec
    assert ours.contract.normalization == old.contract.normalization


def test_one_output_is_a_binary_network_of_two_classes(tmp_path: Path) -> None:
    network = smp.FPN("resnet18", encoder_weights=None, in_channels=2, classes=1)
    found = load_checkpoint(saved(network.state_dict(), tmp_path / "water_best_iou.pth"), **PATCH)
    assert (found.mode, len(found.contract.classes)) == ("binary", 2)


def test_255_can_be_a_class_of_plain_weights(tmp_path: Path) -> None:
    network = smp.FPN("resnet18", encoder_weights=None, in_channels=2, classes=1)
    path = saved(network.state_dict(), tmp_path / "water.pth")
    found = load_checkpoint(path, class_codes=(0, 255), **PATCH)
    assert (found.contract.classes.codes, found.contract.ignore) == ((0, 255), 254)


def test_options_that_do_not_fit_are_named_and_no_other_file_is_asked_for(
    network, tmp_path: Path
) -> None:
    path = saved(network.state_dict(), tmp_path / "plain.pth")
    with pytest.raises(ValueError, match=r"class_codes gives 2 classes .*, the network has 3$"):
        load_checkpoint(path, class_codes=(1, 2), **PATCH)


@pytest.mark.filterwarnings("ignore:.torch.jit:FutureWarning")
@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
def test_a_torchscript_program_is_refused_with_what_to_save_instead(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.script(torch.nn.Conv2d(1, 1, 1)), tmp_path / "program.pth")
    with pytest.raises(ValueError, match=r"TorchScript.*network.state_dict\(\)") as refused:
        load_checkpoint(tmp_path / "program.pth")
    assert "weights_only" not in str(refused.value)


def old_map(network: torch.nn.Module, image: np.ndarray, *, per_channel: bool) -> np.ndarray:
    """What the old prediction command gives for windows of 128 px without overlap."""
    result = np.zeros(image.shape[1:], np.uint8)
    axes = (1, 2) if per_channel else None
    for y in range(0, image.shape[1], 128):
        for x in range(0, image.shape[2], 128):
            patch = image[:, y : y + 128, x : x + 128].astype(np.float32)
            upper = np.percentile(patch, 99, axis=axes, keepdims=True)
            with torch.inference_mode():
                logits = network(torch.from_numpy(np.clip(patch / upper, 0, 1)).float()[None])[0]
            found = logits.sigmoid()[0] > 0.5 if len(logits) == 1 else logits.argmax(0)
            result[y : y + 128, x : x + 128] = found.numpy()
    return result


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("classes", [1, 4])
def test_a_map_equals_the_old_commands(classes: int, per_channel: bool, tmp_path: Path) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        network = smp.Unet("resnet18", encoder_weights=None, in_channels=10, classes=classes).eval()
    scene = synthetic_sentinel2((256, 128), seed=2, nodata_wedge=False)[0]
    with torch.inference_mode():  # a binary network whose answers lie on both sides
        network.segmentation_head[0].bias -= network(torch.rand(1, 10, 128, 128)).median()
    path = saved(final(network) | {"config": {"model_name": "unet"}}, tmp_path / "old.pth")
    model = load_checkpoint(
        path, model_bands=tuple(scene.band.values), normalize_per_channel=per_channel or None
    )
    with pytest.warns(seg.SeamWarning):
        found = seg.predict(scene, model, patch_size=128, overlap=0)
    ours = found["classes"].values
    theirs = old_map(network, scene.values, per_channel=per_channel)
    other = old_map(network, scene.values, per_channel=not per_channel)
    assert np.mean(ours == theirs) >= 0.9999
    assert np.mean(ours == other) < 0.99


def test_weights_are_matched_by_name_in_any_order(network, tmp_path: Path) -> None:
    save_file(network.state_dict(), tmp_path / "sorted.safetensors")
    found = load_checkpoint(tmp_path / "sorted.safetensors", **PATCH)
    assert list(found.state_dict) != list(network.state_dict())
    assert found.spec == ModelSpec("unet++", "resnet18", 4, 3)
    image = torch.rand(1, 4, 64, 64)
    with torch.inference_mode():
        assert torch.equal(found.build()(image), network(image))


@pytest.mark.parametrize("write", [plain, parallel, lambda net: {**best(net), "val_iou": None}])
def test_plain_weights_do_not_say_how_their_input_was_normalised(write, network, tmp_path):
    content = {name: value for name, value in write(network).items() if value is not None}
    path = saved(content, tmp_path / "plain.pth")
    with pytest.warns(seg.ContractWarning, match="99th percentile.*--normalization"):
        found = load_checkpoint(path)
    assert found.contract.normalization == load_checkpoint(path, **PATCH).contract.normalization


@pytest.mark.parametrize(
    ("hints", "expected"),
    [
        ({"normalization": "none"}, lambda image: image),
        (
            {"normalization": "scale", "normalization_divisor": 10000.0},
            lambda image: image / 10000,
        ),
        (
            {
                "normalization": "mean-std",
                "normalization_mean": (900.0,),
                "normalization_std": (400.0, 500.0, 600.0, 700.0),
            },
            lambda image: (image - 900) / np.array([400, 500, 600, 700])[:, None, None],
        ),
        (
            {
                "normalization": "mean-std",
                "normalization_divisor": 255.0,
                "normalization_mean": (0.485, 0.456, 0.406, 0.4),
                "normalization_std": (0.2,),
            },
            lambda image: (image / 255 - np.array([0.485, 0.456, 0.406, 0.4])[:, None, None]) / 0.2,
        ),
    ],
    ids=["none", "scale", "mean-std", "mean-std of 0 to 1"],
)
def test_a_hint_states_how_the_input_was_normalised(hints, expected, network, tmp_path):
    scene = synthetic_sentinel2((64, 64), nodata_wedge=False)[0].isel(band=slice(4))
    assert "scales" in scene.attrs  # which change what numbers mean, and not what is stored
    names = tuple(scene.band.values)
    path = saved(plain(network), tmp_path / "plain.pth")
    model = load_checkpoint(path, model_bands=names, training_patch_size=64, **hints)
    asked = {"layers": ("probabilities",), "precision": "float32"}
    ours = seg.predict(scene, model, **asked)["probabilities"].values
    image = torch.from_numpy(expected(scene.values.astype(np.float64))).float()
    with torch.inference_mode():
        theirs = network(image[None])[0].softmax(0).numpy()
    np.testing.assert_allclose(ours, theirs, atol=1e-3)
    again = load_checkpoint(save_checkpoint(model, tmp_path / "ours.pth"))
    assert again.contract.normalization == model.contract.normalization


@pytest.mark.parametrize(
    ("hints", "message"),
    [
        ({"normalization": "scale"}, "needs normalization_divisor .--normalization_divisor"),
        ({"normalization": "mean-std", "normalization_mean": (1.0,)}, "needs normalization_std"),
        ({"normalization": "imagenet"}, "normalization must be one of patch, none, scale"),
        ({"normalization_divisor": 255.0}, "normalization scale or mean-std only, got .* None"),
        (
            {"normalization": "scale", "normalization_divisor": 0.0},
            "normalization_divisor must be above 0, got 0.0",
        ),
        ({"normalization": "none", "normalize_per_channel": True}, "'patch' only, got 'none'"),
        (
            {
                "normalization": "mean-std",
                "normalization_mean": (1.0, 2.0),
                "normalization_std": (1.0,),
            },
            "normalization_mean gives 2 numbers .* 4 bands",
        ),
    ],
)
def test_a_rule_without_its_numbers_is_refused(hints, message, network, tmp_path):
    path = saved(plain(network), tmp_path / "plain.pth")
    with pytest.raises((TypeError, ValueError), match=message):
        load_checkpoint(path, **hints)


def encoder_of(model: str) -> str:
    return "tu-vit_tiny_patch16_224" if model == "dpt" else "mobilenet_v2"


@pytest.mark.parametrize("model", list_models())
def test_every_architecture_is_found_from_its_weights(model: str) -> None:
    spec = ModelSpec(model, encoder_of(model), in_channels=5, out_channels=4)
    state = build_model(spec).state_dict()
    known = spec.encoder_name if model == "dpt" else None
    assert detection.find_spec(state, encoder_name=known) == spec
    by_name = {name: state[name] for name in sorted(state)}
    assert detection.find_spec(by_name, encoder_name=known) == spec


@pytest.mark.slow
def test_no_two_encoders_have_weights_of_the_same_names_and_shapes() -> None:
    # The transformers' weights are computed, not laid out: too slow for all of them here.
    names = [name for name in list_encoders() if not name.startswith("mit_b")]
    shapes = {
        tuple((key, value.shape) for key, value in detection._encoder_shapes(name).items())
        for name in names
    }
    assert len(shapes) == len(names)


def test_finding_a_network_leaves_the_generator_as_it_was() -> None:
    state = build_model(ModelSpec("unet", "mit_b0", 3, 2)).state_dict()
    before = torch.get_rng_state()
    assert detection.find_spec(state, encoder_name="mit_b0").model == "unet"
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("hints", "message"),
    [
        ({"architecture": "fpn"}, r"'fpn' with encoder 'resnet18': decoder\.p5\.weight is missing"),
        ({"encoder_name": "resnet34"}, r"encoder\.layer1\.2\.conv1\.weight is missing"),
        ({"architecture": "unet+++"}, "unknown model 'unet\\+\\+\\+'; did you mean 'unet\\+\\+'"),
        ({"encoder_name": "resnet-34"}, "unknown encoder 'resnet-34'; did you mean"),
        ({"model_bands": ("red", "nir")}, r"names 2 bands \['red', 'nir'\], the network takes 4"),
        ({"class_codes": (1, 2)}, r"class_codes gives 2 classes \[1, 2\], the network has 3"),
        ({"class_names": ("a",)}, "class_names gives 1 classes"),
        ({"training_patch_size": 0}, "at least 1 pixel, got 0"),
    ],
)
def test_hints_that_do_not_fit_are_refused(network, hints, message: str, tmp_path: Path) -> None:
    path = saved(plain(network), tmp_path / "old.pth")
    with pytest.raises(ValueError, match=message):
        load_checkpoint(path, **hints)


def test_a_hint_of_another_name_meets_the_nearest(network, tmp_path: Path) -> None:
    path = saved(plain(network), tmp_path / "old.pth")
    with pytest.raises(TypeError, match="did you mean 'encoder_name'"):
        load_checkpoint(path, encoder="resnet18")


def test_weights_are_never_loaded_in_part(network, tmp_path: Path) -> None:
    state = plain(network)
    del state["segmentation_head.0.bias"]
    state["decoder.extra.weight"] = torch.zeros(3)
    said = r"old\.pth.*'unet\+\+'.*segmentation_head\.0\.bias is missing; decoder\.extra\.weight"
    with pytest.raises(ValueError, match=said):
        load_checkpoint(saved(state, tmp_path / "old.pth"))


def test_a_config_that_contradicts_the_weights_is_refused(network, tmp_path: Path) -> None:
    content = final(network)
    content["config"]["encoder_name"] = "resnet50"
    with pytest.raises(ValueError, match=r"'unet\+\+' with encoder 'resnet50'.*is missing"):
        load_checkpoint(saved(content, tmp_path / "old_final.pth"))


def test_weights_of_no_known_network_name_what_they_hold(tmp_path: Path) -> None:
    stranger = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Conv2d(4, 2, 1))
    path = saved(stranger.state_dict(), tmp_path / "old.pth")
    with pytest.raises(ValueError, match=r"no known encoder.*0\.weight; 0\.bias.*--architecture"):
        load_checkpoint(path)


@pytest.mark.parametrize(
    "stowaway",
    [
        Path("runs"),
        np.array([0.5, 0.25]),
        np.array(["text"])[0],
        np.array([(1, 2.0)], "i4,f8")[0],
        np.array(["2024-01-01"], "M8[D]")[0],
    ],
    ids=["path", "array", "text", "record", "date"],
)
def test_of_numpy_only_single_numbers_are_read(network, stowaway: object, tmp_path: Path) -> None:
    content = {**best(network), "more": stowaway}
    with pytest.raises(ValueError, match=r"could run code.*refused"):
        load_checkpoint(saved(content, tmp_path / "old.pth"))


@pytest.mark.parametrize("dtype", list("?bhilqBHILQefd"))
def test_numpys_numbers_are_read_whatever_their_type(network, dtype: str, tmp_path: Path) -> None:
    content = {**best(network), "config": {"number": np.ones(1, dtype)[0]}}
    found = load_checkpoint(saved(content, tmp_path / "old.pth"), encoder_name="resnet18")
    assert found.config["number"] == 1


def test_numbers_written_by_numpy_1_are_read(network, tmp_path: Path) -> None:
    class OldNames(pickle._Pickler):
        """Writes NumPy's function under the name that it had before NumPy 2."""

        dispatch = pickle._Pickler.dispatch.copy()

        def save_global(self, found: Any, name: str | None = None) -> None:
            if found is not scalar:
                return super().save_global(found, name)
            self.write(b"cnumpy.core.multiarray\nscalar\n")
            return self.memoize(found)

        dispatch[type(scalar)] = save_global

    module = types.SimpleNamespace(Pickler=OldNames, __name__="pickle")
    torch.save(final(network), tmp_path / "old.pth", pickle_module=module)
    assert b"numpy._core" not in (tmp_path / "old.pth").read_bytes()
    assert load_checkpoint(tmp_path / "old.pth").patch_size == 96
