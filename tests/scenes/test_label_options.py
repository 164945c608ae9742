from __future__ import annotations

import pytest

from seg4eo_xr.scenes.label_options import LabelOptions


@pytest.mark.parametrize(
    ("changes", "kind", "message"),
    [
        ({"ignore": 40000}, ValueError, r"ignore must lie in -32768\.\.32767.*40000"),
        ({"background": -40000}, ValueError, "background must lie in"),
        ({"ignore_border": -1}, ValueError, "ignore_border counts pixels.*-1"),
        ({"overlap": "top"}, ValueError, "overlap must be one of last, first.*'top'"),
        ({"warp_resampling": "cubic"}, ValueError, "one of nearest, mode.*'cubic'"),
        ({"unlabelled": 7}, TypeError, r"tuple of codes, as \(0,\), got 7"),
    ],
)
def test_impossible_options_are_refused(changes, kind, message):
    with pytest.raises(kind, match=message):
        LabelOptions(**changes)


def test_every_code_without_a_label():
    options = LabelOptions(unlabelled=[0, 9])
    assert options.no_label == {0, 9, 255}
    assert hash(options) == hash(LabelOptions(unlabelled=(0, 9)))
