"""Options: a misspelt name is answered with the nearest one, wherever it is given."""

import copy
import pickle
from dataclasses import fields, is_dataclass, replace

import pytest

import seg4eo_xr as seg
from seg4eo_xr.options import OptionSet, suggestion

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
