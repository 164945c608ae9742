from __future__ import annotations

import dataclasses
import json
from contextlib import contextmanager
from unittest import mock

import numpy as np
import pytest
import rioxarray  # noqa: F401
import scipy.special
import torch
from affine import Affine

import seg4eo_xr as seg
from seg4eo_xr.calibration.calibrate import labelled_logits
from seg4eo_xr.cli import main
from seg4eo_xr.models.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from seg4eo_xr.models.zoo import ModelSpec, build_model
from seg4eo_xr.scenes.classes import ClassTable
from seg4eo_xr.scenes.grid import place

TABLE = ClassTable.from_codes([10, 20, 30], ["water", "forest", "bare"])
SIDE = 256


class Scaled(torch.nn.Module):
    """Logits that are k times too large: the classes' scores are the bands."""

    def __init__(self, outputs):
        super().__init__()
        self.outputs = outputs
        self.factor = torch.nn.Parameter(torch.ones(()))

    def forward(self, image):
        scores = image[:, :3] * self.factor
        return scores if self.outputs == 3 else scores[:, 1:2] - scores[:, :1]


@contextmanager
def scaled_networks():
    def build(spec, **_):
        return Scaled(spec.out_channels)

    with mock.patch("seg4eo_xr.models.checkpoint.build_model", build):
        yield


def a_scene(seed=0, classes=3):
    """Bands are scores × 1000, and labels are drawn with the probabilities that they say."""
    random = np.random.default_rng(seed)
    bands = random.integers(1, 5000, (3, SIDE, SIDE)).astype(np.uint16)
    shares = scipy.special.softmax(bands[:classes] / 1000, 0)
    indices = (shares.cumsum(0) < random.random((SIDE, SIDE))).sum(0).clip(0, classes - 1)
    labels = np.array(TABLE.codes, np.uint8)[indices]
    # neither missing nor unlabelled pixels, which are all wrong here, may count
    bands[:, :40, :40] = 0
    labels[:40, :40] = 30 if classes == 3 else 20
    labels[:20, 60:] = 255
    grid = "EPSG:32633", Affine(10, 0, 400_000, 0, -10, 5_300_000)
    scene = place(bands, *grid).assign_coords(band=["a", "b", "c"])
    scene = scene.rio.write_nodata(0).assign_attrs(scales=(0.001,) * 3, offsets=(0.0,) * 3)
    table = TABLE if classes == 3 else ClassTable.from_codes(TABLE.codes[:2], TABLE.names[:2])
    reference = place(labels, *grid).assign_attrs(table.to_attrs()).rio.write_nodata(255)
    return scene, reference


def a_store(folder, classes=3):
    scene, labels = a_scene(classes=classes)
    split = seg.RandomSplit(0.25, 0.5, 0.25, random_seed=1)
    return seg.extract_patches(
        scene,
        labels,
        folder / f"p{classes}.zarr",
        patch_size=32,
        normalization="none",
        split=split,
        progress=False,
    )


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return a_store(tmp_path_factory.mktemp("store"))


def too_sure(store, factor):
    outputs = 3 if len(store.contract.classes) == 3 else 1
    network = Scaled(outputs)
    network.factor.data.fill_(factor)
    return Checkpoint(
        network.state_dict(),
        ModelSpec("unet", "resnet18", 3, outputs),
        store.contract,
        32,
        "multiclass" if outputs == 3 else "binary",
        metrics={"best_val_iou": 0.5},
    )


@pytest.mark.parametrize("factor", [0.5, 2.0, 4.0])
def test_a_network_that_is_k_times_too_sure_gets_the_temperature_k(store, factor):
    with scaled_networks():
        found = seg.calibrate(too_sure(store, factor), store, device="cpu")
    assert found.temperature == pytest.approx(factor, rel=0.05)
    for split in ("validation", "test"):
        stated = found.after[split].reliability
        assert stated.ece() < 0.02 < found.before[split].reliability.ece()
        assert found.after[split].nll < found.before[split].nll
        assert stated.accuracy == found.before[split].reliability.accuracy
        assert found.pixels[split] == sum(store.class_counts(split).values()) == stated.pixels


def test_a_binary_network_is_calibrated_alike(tmp_path):
    store = a_store(tmp_path, classes=2)
    with scaled_networks():
        found = seg.calibrate(too_sure(store, 3.0), store, device="cpu")
    assert found.temperature == pytest.approx(3.0, rel=0.08)
    assert found.after["test"].reliability.ece() < 0.02


def test_a_calibrated_network_is_calibrated_anew_from_its_own_logits(store):
    with scaled_networks():
        once = seg.calibrate(too_sure(store, 3.0), store, device="cpu")
        twice = seg.calibrate(once.checkpoint, store, device="cpu")
    assert twice.temperature == once.temperature
    assert twice.old_temperature == once.temperature
    assert twice.before["test"].nll == once.after["test"].nll


def test_of_very_many_pixels_some_are_drawn_the_same_each_time(store):
    checkpoint = too_sure(store, 2.0)
    with scaled_networks():
        whole = labelled_logits(checkpoint, store, "validation", device="cpu")
        some = [
            labelled_logits(checkpoint, store, "validation", device="cpu", most=3 * 5000)
            for _ in range(2)
        ]
    assert len(whole.labels) == whole.total
    assert some[0].total == whole.total
    assert 4500 < len(some[0].labels) < 5500
    np.testing.assert_array_equal(some[0].logits, some[1].logits)


def test_the_checkpoint_keeps_its_temperature_and_older_ones_have_one(store, tmp_path):
    with scaled_networks():
        found = seg.calibrate(
            too_sure(store, 2.0), store, device="cpu", output=tmp_path / "calibrated.pth"
        )
    read = load_checkpoint(tmp_path / "calibrated.pth")
    assert read.temperature == found.temperature
    assert read.metrics["best_val_iou"] == 0.5
    assert read.metrics["calibration"]["split"] == "validation"
    assert "temperature" in repr(read)
    content = torch.load(tmp_path / "calibrated.pth", weights_only=True)
    del content["temperature"]
    torch.save(content, tmp_path / "old.pth")
    assert load_checkpoint(tmp_path / "old.pth").temperature == 1.0
    with pytest.raises(ValueError, match="temperature must be a positive number"):
        dataclasses.replace(read, temperature=0.0)


def test_it_is_told_as_text_html_json_and_picture(store, tmp_path):
    with scaled_networks():
        found = seg.calibrate(too_sure(store, 3.0), store, device="cpu")
    assert "too sure" in repr(found)
    assert "validation, before" in found._repr_html_()
    report = json.loads(found.to_json(tmp_path / "report.json").read_text())
    assert report["splits"]["test"]["after"]["ece"] < report["splits"]["test"]["before"]["ece"]
    found.plot(path=tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 20_000
    assert found.plot().axes


def test_a_temperature_that_does_harm_elsewhere_is_warned_of(store):
    with scaled_networks():
        found = seg.calibrate(too_sure(store, 3.0), store, device="cpu")
    assert "warning" not in repr(found)
    worse = dataclasses.replace(found, before=found.after, after=found.before)
    assert "on the test patches the probabilities became worse" in repr(worse)


def test_the_command_writes_checkpoint_figure_and_report(store, tmp_path, capsys, monkeypatch):
    save_checkpoint(too_sure(store, 2.0), tmp_path / "model.pth")
    words = ["calibrate", "--model", tmp_path / "model.pth", "--dataset_root", store.path]
    words += ["--output", tmp_path / "new.pth", "--device", "cpu"]
    monkeypatch.setattr("seg4eo_xr.calibration.calibrate.DELAY_SECONDS", 0)
    extra = ["--figure", tmp_path / "f.png", "--report", tmp_path / "r.json"]
    with scaled_networks():
        assert main([str(word) for word in [*words, *extra]]) == 0
        told = capsys.readouterr()
        assert "fitted to the validation patches" in told.out
        assert "%|" not in told.err  # no bar where nobody looks
        assert load_checkpoint(tmp_path / "new.pth").temperature == pytest.approx(2, rel=0.05)
        assert main([str(word) for word in words]) == 2
    assert "exists already" in capsys.readouterr().err


def test_the_command_takes_what_plain_weights_do_not_say(tmp_path, capsys):
    scene, labels = a_scene()
    bare = place(scene.data + 1, scene.rio.crs, scene.rio.transform())
    bare = bare.assign_coords(band=["a", "b", "c"])
    split = seg.RandomSplit(0.25, 0.5, 0.25, random_seed=1)
    folder = tmp_path / "bare.zarr"
    seg.extract_patches(bare, labels, folder, patch_size=32, split=split, progress=False)
    network = ModelSpec("unet", "resnet18", 3, 3)
    weights = build_model(network).state_dict()
    torch.save(weights, tmp_path / "plain.pth")
    words = ["calibrate", "--model", tmp_path / "plain.pth", "--dataset_root", folder]
    words += ["--output", tmp_path / "new.pth", "--device", "cpu", "--model_bands", "a", "b", "c"]
    words += ["--class_codes", *TABLE.codes, "--normalization", "none"]
    assert main([str(word) for word in words]) == 0
    assert load_checkpoint(tmp_path / "new.pth").contract.normalization.kind == "none"
    assert "normalised" not in capsys.readouterr().err


def test_bars_are_drawn_for_those_who_ask(store, monkeypatch, capsys):
    monkeypatch.setattr("seg4eo_xr.calibration.calibrate.DELAY_SECONDS", 0)
    with scaled_networks():
        seg.calibrate(too_sure(store, 2.0), store, device="cpu")
        assert "validation patches: 100%" in capsys.readouterr().err
        seg.calibrate(too_sure(store, 2.0), store, device="cpu", progress=False)
    assert not capsys.readouterr().err


def test_bad_input_is_told(store, tmp_path):
    checkpoint = too_sure(store, 2.0)
    with pytest.raises(ValueError, match="by heart"):
        seg.calibrate(checkpoint, store, split="train")
    other = dataclasses.replace(
        checkpoint, contract=dataclasses.replace(store.contract, bands=("a", "b", "d"))
    )
    with pytest.raises(ValueError, match="does not go with"):
        seg.calibrate(other, store)
    with pytest.raises(FileNotFoundError, match="does not exist; create it"):
        seg.calibrate(checkpoint, store, output=tmp_path / "nowhere" / "m.pth")
    scene, labels = a_scene()
    everything = seg.extract_patches(
        scene,
        labels,
        tmp_path / "all.zarr",
        patch_size=32,
        normalization="none",
        split=seg.RandomSplit(1.0, 0.0, 0.0),
        progress=False,
    )
    with pytest.raises(ValueError, match="has no labelled pixel"):
        seg.calibrate(checkpoint, everything)


@pytest.mark.filterwarnings("ignore::seg4eo_xr.SeamWarning")
def test_a_map_of_a_calibrated_network_has_its_classes_and_honest_confidences(store, tmp_path):
    scene, labels = a_scene()
    checkpoint = too_sure(store, 3.0)
    with scaled_networks():
        found = seg.calibrate(checkpoint, store, device="cpu")
        options = {"patch_size": 64, "overlap": 0, "device": "cpu", "precision": "float32"}
        maps = [
            seg.predict(scene, one, **options).compute() for one in (checkpoint, found.checkpoint)
        ]
    plain, calibrated = maps
    # no windows overlap, so there is no blending that could change a class
    np.testing.assert_array_equal(plain["classes"], calibrated["classes"])
    assert plain.attrs["temperature"] == 1
    assert calibrated.attrs["temperature"] == found.temperature
    assert plain.attrs["model_token"] != calibrated.attrs["model_token"]
    before, after = (seg.reliability(one, labels).ece() for one in maps)
    assert after < 0.02 < before
    seg.write_zarr(calibrated, tmp_path / "map.zarr")
    save = ["--output", tmp_path / "r.json", "--figure", tmp_path / "r.png"]
    labels.rio.to_raster(tmp_path / "labels.tif")
    words = ["--prediction", tmp_path / "map.zarr", "--reference", tmp_path / "labels.tif"]
    assert main([str(word) for word in ["reliability", *words, *save]]) == 0
    assert json.loads((tmp_path / "r.json").read_text())["ece"] == pytest.approx(after)
