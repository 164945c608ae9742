from __future__ import annotations

import pytest

from seg4eo_xr.cli.judging import Evaluate
from seg4eo_xr.cli.option import build
from seg4eo_xr.cli.parser import split_words
from seg4eo_xr.scenes.label_options import LabelOptions


@pytest.mark.parametrize(
    ("changes", "kind", "message"),
    [
        ({"ignore": 40000}, ValueError, r"ignore must lie in -32768\.\.32767.*40000"),
        ({"background": -40000}, ValueError, "background must lie in"),
        ({"ignore_border": -1}, ValueError, "ignore_border counts pixels.*-1"),
        ({"overlap": "top"}, ValueError, "overlap must be one of last, first.*'top'"),
        ({"warp_resampling": "cubic"}, ValueError, "one of nearest, mode.*'cubic'"),
        ({"unlabelled": 7}, TypeError, r"unlabelled must be .*names, got 7; give \(7,\)"),
    ],
)
def test_impossible_options_are_refused(changes, kind, message):
    with pytest.raises(kind, match=message):
        LabelOptions(**changes)


def test_every_code_without_a_label():
    options = LabelOptions(unlabelled=[0, 9])
    assert options.no_label == {0, 9}
    assert LabelOptions(unlabelled=[0, 9], ignore=255).no_label == {0, 9, 255}
    assert hash(options) == hash(LabelOptions(unlabelled=("0", 9)))


def test_names_get_the_codes_of_their_classes():
    named = LabelOptions(unlabelled=("forest", 4, "sea ice"))
    coded = named.with_codes({"forest": 7, "sea ice": -2, "crop": 1}, "the labels")
    assert coded == LabelOptions(unlabelled=(7, 4, -2))
    assert coded.with_codes({}, "the labels") == coded
    with pytest.raises(ValueError, match=r"\['sea ice'\], but x have only the classes \['forest'"):
        named.with_codes({"forest": 7}, "x")
    with pytest.raises(ValueError, match=r"no class table.*\(--classes\)"):
        named.no_label  # noqa: B018


def test_the_command_line_gives_codes_and_names():
    words = ["--prediction", "a", "--reference", "b", "--unlabelled", "0", "forest"]
    values, _ = split_words("evaluate", Evaluate, words)
    given = build(LabelOptions, values)
    assert given == LabelOptions(unlabelled=(0, "forest"))
