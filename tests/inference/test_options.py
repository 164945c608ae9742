import pytest

from seg4eo_xr.geometry.windows import WindowAxis
from seg4eo_xr.inference.options import PredictOptions
from seg4eo_xr.inference.predict import _windows_a_side


@pytest.mark.parametrize(
    ("name", "value"), [("batch_size", 0), ("patch_size", -1), ("windows_per_chunk", 0)]
)
def test_counts_below_one_are_refused(name, value):
    with pytest.raises(ValueError, match=f"{name} must be at least 1, got {value}"):
        PredictOptions(**{name: value})


@pytest.mark.parametrize("name", ["blending", "precision", "device", "probability_dtype"])
def test_unknown_words_are_refused_with_the_known_ones(name):
    with pytest.raises(ValueError, match=f"{name} must be one of .*, got 'odd'"):
        PredictOptions(**{name: "odd"})


@pytest.mark.parametrize("layers", [(), ("classes", "classes")])
def test_layers_are_named_each_once(layers):
    with pytest.raises(ValueError, match="layers must name one layer or several, each once"):
        PredictOptions(layers=layers)


def test_unknown_layers_are_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"layers must be one of classes, .*, got 'odd'"):
        PredictOptions(layers=("classes", "odd"))


@pytest.mark.parametrize(
    ("windows", "cores", "most", "expected"),
    [
        (100, 2, 4, 4),  # many chunks: large ones
        (29, 2, 4, 4),  # also where smaller ones would be many
        (11, 2, 4, 3),  # 9 chunks would end with one core at work on the last
        (4, 2, 4, 2),  # a single chunk would leave a core idle
        (4, 1, 4, 4),
        (100, 2, 3, 3),
        (100, 2, 0, 2),  # fewer would be next to nothing but borders
        (100, 2, 9, 4),
    ],
)
def test_chunks_are_of_a_size_that_keeps_all_cores_busy(windows, cores, most, expected):
    axis = WindowAxis(windows * 384 + 128, 512, 128)
    assert axis.count == windows
    assert _windows_a_side([axis, axis], cores, most) == expected
