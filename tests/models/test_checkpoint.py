from __future__ import annotations

import dataclasses
import io
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from seg4eo_xr.models import checkpoint as module
from seg4eo_xr.models.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from seg4eo_xr.models.hints import CheckpointHints
from seg4eo_xr.models.zoo import ModelSpec, build_model
from seg4eo_xr.scenes.classes import ClassTable
from seg4eo_xr.scenes.contract import Contract, Normalization, normalize


def make_contract(bands: int = 3, classes: int = 2) -> Contract:
    return Contract(
        bands=tuple(f"B{i:02}" for i in range(bands)),
        dtype="uint16",
        scale=(1e-4,) * bands,
        offset=(-0.1,) * bands,
        nodata=0.0,
        nodata_rule="any",
        ground_sample_distance=(10.0, 10.0),
        minimum=(0.0,) * bands,
        maximum=(1.0,) * bands,
        normalization=Normalization("percentile", (0.0,) * bands, (0.7,) * bands),
        classes=ClassTable.from_codes([1 + 3 * i for i in range(classes)]),
    )


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    spec = ModelSpec("unet", "resnet18", in_channels=3, out_channels=1)
    torch.manual_seed(0)
    network = build_model(spec)
    network(torch.rand(2, 3, 64, 64))  # moves the batch statistics off their start
    return Checkpoint(
        state_dict=network.state_dict(),
        spec=spec,
        contract=make_contract(),
        patch_size=64,
        mode="binary",
        config={"epochs": 3, "folder": Path("runs"), "rates": (0.1, np.float32(0.5)), "mode": None},
        metrics={"best_val_loss": np.float64(0.25), "per_class_iou": np.array([0.5, np.nan])},
    )


@pytest.fixture
def saved(checkpoint: Checkpoint, tmp_path: Path) -> Path:
    return save_checkpoint(checkpoint, tmp_path / "model.pth")


def test_a_checkpoint_carries_all_that_prediction_needs(
    checkpoint: Checkpoint, saved: Path
) -> None:
    found = load_checkpoint(saved)
    assert (found.spec, found.contract) == (checkpoint.spec, checkpoint.contract)
    assert (found.patch_size, found.mode) == (64, "binary")
    raw = np.random.default_rng(0).integers(0, 9000, (2, 3, 64, 64)).astype(np.uint16)
    image = torch.from_numpy(normalize(raw, found.contract))
    with torch.inference_mode():
        assert torch.equal(checkpoint.build()(image), found.build()(image))


def test_building_leaves_the_callers_random_numbers_alone(checkpoint: Checkpoint) -> None:
    before = torch.random.get_rng_state()
    checkpoint.build()
    assert torch.equal(torch.random.get_rng_state(), before)


def test_the_network_comes_ready_to_predict(saved: Path) -> None:
    network = load_checkpoint(saved).build()
    assert not any(part.training for part in network.modules())


def test_config_and_metrics_come_back_as_plain_values(saved: Path) -> None:
    found = load_checkpoint(saved)
    assert found.config == {"epochs": 3, "folder": "runs", "rates": [0.1, 0.5], "mode": None}
    assert found.metrics["best_val_loss"] == 0.25
    assert np.isnan(found.metrics["per_class_iou"][1])


def test_the_file_has_the_entries_that_users_know(saved: Path) -> None:
    content = torch.load(saved, weights_only=True)
    assert {"model_state_dict", "config", "performance_metrics"} <= set(content)


def test_saving_needs_only_plain_values(checkpoint: Checkpoint, tmp_path: Path) -> None:
    strange = dataclasses.replace(checkpoint, config={"callback": print})
    with pytest.raises(TypeError, match="plain values"):
        save_checkpoint(strange, tmp_path / "model.pth")
    assert list(tmp_path.iterdir()) == []


def test_a_save_that_fails_leaves_the_old_file_alone(
    checkpoint: Checkpoint, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = saved.read_bytes()

    def full(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(module.os, "fsync", full)
    with pytest.raises(OSError, match="no space"):
        save_checkpoint(checkpoint, saved)
    assert saved.read_bytes() == before
    assert [file.name for file in saved.parent.iterdir()] == [saved.name]


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no checkpoint file .*nowhere\.pth"):
        load_checkpoint(tmp_path / "nowhere.pth")


class Malicious:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (str(self.marker),))


def malicious_pickle(marker: Path) -> bytes:
    return pickle.dumps({"model_state_dict": Malicious(marker)})


def malicious_archive(marker: Path) -> bytes:
    buffer = io.BytesIO()
    torch.save({"model_state_dict": Malicious(marker)}, buffer)
    return buffer.getvalue()


def malicious_reference(marker: Path) -> bytes:
    """Name a callable without calling it while it is read."""
    buffer = io.BytesIO()
    torch.save({"model_state_dict": os.system}, buffer)
    return buffer.getvalue()


@pytest.mark.parametrize("forge", [malicious_pickle, malicious_archive, malicious_reference])
def test_a_file_that_holds_code_is_refused_and_nothing_runs(tmp_path: Path, forge: Any) -> None:
    marker = tmp_path / "marker"
    path = tmp_path / "model.pth"
    path.write_bytes(forge(marker))
    with pytest.raises(ValueError, match=r"model\.pth.*model_best_iou\.pth"):
        load_checkpoint(path)
    assert not marker.exists()


def test_the_forged_files_would_run_code_if_they_were_trusted(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    pickle.loads(malicious_pickle(marker))
    assert marker.exists()


def test_code_in_a_checkpoint_is_named_as_the_reason(tmp_path: Path) -> None:
    path = tmp_path / "model.pth"
    path.write_bytes(malicious_archive(tmp_path / "marker"))
    with pytest.raises(ValueError, match=r"could run code.*refused"):
        load_checkpoint(path)


def archive_of(content: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def some_zip() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("readme.txt", "a zip, but no checkpoint")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no checkpoint"),
        (b"a text file\n", "no checkpoint"),
        (some_zip(), "damaged or no checkpoint"),
        (archive_of([1, 2, 3]), "holds a list"),
        (archive_of({"weights": torch.zeros(2)}), "no convolution"),
        (archive_of({"epoch": 3}), "no tensor under"),
        (archive_of({"format_version": 1}), "are missing"),
        (archive_of(torch.zeros(3)), "holds a Tensor"),
    ],
    ids=("nothing", "text", "zip", "list", "weights", "epoch", "format", "tensor"),
)
def test_what_is_no_checkpoint_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "model.pth"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"model\.pth.*{message}.*model_best_iou\.pth"):
        load_checkpoint(path)


@pytest.mark.parametrize("share", [0.01, 0.5, 0.999])
def test_a_truncated_checkpoint_is_refused(saved: Path, share: float) -> None:
    content = saved.read_bytes()
    saved.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ValueError, match=r"model\.pth.*cut off.*copy it again"):
        load_checkpoint(saved)


def test_damage_inside_the_file_is_refused(saved: Path) -> None:
    content = bytearray(saved.read_bytes())
    content[40:300] = b"\x00" * 260
    saved.write_bytes(content)
    with pytest.raises(ValueError, match=r"model\.pth"):
        load_checkpoint(saved)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("format_version", 99),
        ("model_state_dict", [1]),
        ("model_state_dict", {"weight": 1}),
        ("architecture", {"model": "unet"}),
        ("contract", {"bands": ["B02"]}),
        ("mode", "ternary"),
        ("patch_size", "large"),
        ("config", 3),
    ],
)
def test_an_entry_of_another_kind_is_refused(saved: Path, key: str, value: object) -> None:
    content = torch.load(saved, weights_only=True)
    torch.save({**content, key: value}, saved)
    with pytest.raises(ValueError, match=r"model\.pth"):
        load_checkpoint(saved)


def test_weights_are_loaded_wholly_or_not_at_all(checkpoint: Checkpoint) -> None:
    weights = dict(checkpoint.state_dict)
    weights.pop("segmentation_head.0.weight")
    with pytest.raises(ValueError, match=r"not those of model 'unet'.*resnet18"):
        dataclasses.replace(checkpoint, state_dict=weights).build()


def test_weights_that_do_not_fit_are_listed(checkpoint: Checkpoint) -> None:
    weights = dict(checkpoint.state_dict)
    weights["segmentation_head.0.bias"] = torch.zeros(2)
    weights["stowaway"] = weights.pop("encoder.bn1.bias")
    said = (
        r"encoder\.bn1\.bias is missing; stowaway is unknown; "
        r"segmentation_head\.0\.bias has the shape \(2,\), not \(1,\)"
    )
    with pytest.raises(ValueError, match=said):
        dataclasses.replace(checkpoint, state_dict=weights).build()


def test_a_checkpoint_of_before_there_was_dropout_loads(saved: Path) -> None:
    content = torch.load(saved, weights_only=True)
    del content["architecture"]["dropout_rate"]
    torch.save(content, saved)
    assert load_checkpoint(saved).spec.dropout_rate == 0


def test_hints_that_contradict_a_file_that_says_all_itself_are_refused(saved: Path) -> None:
    said = r"says itself.*encoder_name is 'resnet18' .*, got 'resnet34'; leave out --encoder_name$"
    with pytest.raises(ValueError, match=said):
        load_checkpoint(saved, encoder_name="resnet34")
    with pytest.raises(ValueError, match="its normalisation is 'percentile'"):
        load_checkpoint(saved, normalize_per_channel=True)
    with pytest.raises(ValueError, match=r"leave out --architecture \(or --model_name\)$"):
        load_checkpoint(saved, architecture="pan", encoder_name="resnet18")
    with pytest.raises(ValueError, match=r"leave out --model_bands, or rename .*--band_names"):
        load_checkpoint(saved, model_bands=("B99",))


def test_a_folder_names_the_checkpoints_in_it(saved: Path) -> None:
    with pytest.raises(IsADirectoryError, match=rf"is a folder.*{saved.name}.*as .*{saved.name}"):
        load_checkpoint(saved.parent)


def test_hints_that_a_file_says_itself_are_taken(saved: Path) -> None:
    found = load_checkpoint(saved)
    spec, contract = found.spec, found.contract
    hints = CheckpointHints(
        architecture=spec.model.title(),
        encoder_name=spec.encoder_name,
        model_bands=contract.bands,
        class_codes=contract.classes.codes,
        class_names=contract.classes.names,
        training_patch_size=found.patch_size,
    )
    assert load_checkpoint(saved, hints).spec == spec


@pytest.mark.parametrize(
    ("model", "encoder"), [("unet-dropout", ""), ("deeplabv3_resnet50", ""), ("pan", "resnet18")]
)
def test_every_kind_of_network_survives_its_file(model: str, encoder: str, tmp_path: Path) -> None:
    spec = ModelSpec(model, encoder, 3, 1, dropout_rate=0.25)
    network = build_model(spec).eval()
    ours = Checkpoint(network.state_dict(), spec, make_contract(), 50, "binary")
    found = load_checkpoint(save_checkpoint(ours, tmp_path / "model.pth"))
    assert found.spec == spec
    image = torch.rand(1, 3, 50, 50)
    with torch.inference_mode():
        assert torch.equal(found.build()(image), network(image))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mode": "multiclass"}, "1 outputs, but a multiclass network of 2 classes has 2"),
        ({"contract": make_contract(bands=4)}, "takes 3 bands, the contract names 4"),
        ({"contract": make_contract(classes=3)}, "tells 2 classes apart, the contract has 3"),
        ({"patch_size": 0}, "patch_size must be at least 1"),
    ],
)
def test_parts_that_contradict_each_other_are_refused(
    checkpoint: Checkpoint, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(checkpoint, **changes)
