"""Options: a misspelt name is answered with the nearest one, wherever it is given."""

import copy
import pickle
from dataclasses import fields, is_dataclass, replace

import numpy as np
import pytest

import seg4eo_xr as seg
from seg4eo_xr.options import OptionSet, changed, suggestion

ENDINGS = ("Config", "Hints", "Options", "Split")
PUBLIC = [getattr(seg, name) for name in seg.__all__ if name.endswith(ENDINGS)]
SETS = [one for one in PUBLIC if is_dataclass(one)]


@pytest.mark.parametrize("options", SETS, ids=lambda one: one.__name__)
def test_every_set_of_options_suggests_the_nearest_name(options):
    assert issubclass(options, OptionSet)
    name = fields(options)[0].name
    with pytest.raises(TypeError, match=rf"unknown option '{name}x'; did you mean '{name}'\?"):
        options(**{f"{name}x": 1})


def test_changes_are_held_to_the_same():
    with pytest.raises(TypeError, match=r"unknown option 'epoch'; did you mean 'epochs'\?"):
        replace(seg.TrainConfig(), epoch=3)


def test_what_is_like_nothing_meets_the_list():
    with pytest.raises(TypeError, match=r"unknown option 'zzz'\. Known: patch_size, overlap"):
        seg.PredictOptions(zzz=1)


def test_sets_survive_copies_and_journeys():
    split = seg.SpatialSplit(block=64, buffer=8, train_ratio=0.6, val_ratio=0.2, test_ratio=0.2)
    assert copy.deepcopy(split) == split == pickle.loads(pickle.dumps(split))


def test_the_nearest_is_found_whatever_the_case():
    assert suggestion("unett", ["UNet", "fpn"]) == "; did you mean 'UNet'?"
    assert suggestion("zzz", ["UNet", "fpn"]) == ""
    assert suggestion("B8", ["B02", "B08", "B8A", "B10"]) == "; did you mean 'B08'?"
    assert suggestion("UnetPP", ["unet", "unet++"]) == "; did you mean 'unet++'?"


@pytest.mark.parametrize(
    ("options", "name", "wrong", "told"),
    [
        (seg.TrainConfig, "epochs", "3", "epochs must be a whole number, got '3'"),
        (seg.TrainConfig, "epochs", 3.5, "epochs must be a whole number, got 3.5"),
        (seg.TrainConfig, "epochs", True, "epochs must be a whole number, got True"),
        (seg.TrainConfig, "use_amp", "no", "use_amp must be true or false, got 'no'"),
        (seg.TrainConfig, "class_weights", (1, "2"), r"class_weights must be numbers, got \(1, '2"),
        (seg.PredictOptions, "overlap", "8", "overlap must be a whole number, got '8'"),
        (seg.PredictOptions, "layers", "classes", r"got 'classes'; give \('classes',\)"),
        (seg.SceneOptions, "bands", "B02", r"bands must be names, got .*; give \('B02',\)"),
        (seg.SceneOptions, "nodata", "0", "nodata must be a number, got '0'"),
        (seg.SampleOptions, "accuracies", {"a": "b"}, "accuracies must be names, each with a num"),
    ],
)
def test_a_value_of_another_type_meets_the_options_name(options, name, wrong, told):
    with pytest.raises(TypeError, match=told):
        options(**{name: wrong})
    with pytest.raises(TypeError, match=told):
        replace(options(), **{name: wrong})


def test_a_value_that_stands_in_its_place_is_held_to_the_same():
    with pytest.raises(TypeError, match="block must be a whole number, got '64'"):
        seg.SpatialSplit("64")


@pytest.mark.parametrize("options", SETS, ids=lambda one: one.__name__)
def test_every_default_is_of_its_own_type(options):
    if options not in (seg.SpatialSplit, seg.ColumnSplit):
        defaults = {one.name: getattr(options(), one.name) for one in fields(options)}
        assert options(**defaults) == options()


def test_numbers_of_numpy_lists_and_whole_numbers_for_real_ones_are_fine():
    assert seg.TrainConfig(epochs=np.int64(3), learning_rate=1, use_amp=np.True_).epochs == 3
    assert seg.TrainConfig(class_weights=[1, np.float32(2)]).class_weights == [1, 2]
    assert list(seg.SceneOptions(bands=np.array(["B02", "B03"])).bands) == ["B02", "B03"]
    assert seg.SceneOptions(chunks={"y": 64, "x": 64}).chunks == {"y": 64, "x": 64}


def test_changes_need_the_set_that_they_change():
    assert changed(None, seg.TrainConfig, {"epochs": 3}) == seg.TrainConfig(epochs=3)
    assert changed(seg.TrainConfig(patience=2), seg.TrainConfig, {"epochs": 3}).patience == 2
    told = r"a TrainConfig is wanted, got dict; write TrainConfig\(epochs=3\)"
    with pytest.raises(TypeError, match=told):
        changed({"epochs": 3}, seg.TrainConfig, {})
    with pytest.raises(TypeError, match=r"a TrainConfig is wanted, got PredictOptions$"):
        changed(seg.PredictOptions(), seg.TrainConfig, {})
    with pytest.raises(TypeError, match=r"^an AreaOptions is wanted, got ndarray$"):
        changed(np.zeros(1), seg.AreaOptions, {})


def test_of_names_that_are_as_near_the_one_with_the_same_letters_is_meant():
    assert suggestion("modle", ["mode", "model", "models"], "--") == "; did you mean --model?"
    assert suggestion("mod", ["mode", "model"]) == "; did you mean 'mode'?"
