"""Laws of `seg4eo_xr.patches.report`: text and HTML tell the same, and what the store holds."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from seg4eo_xr.geometry.splits import SPLITS, RandomSplit
from seg4eo_xr.patches.batch import extract_batch
from seg4eo_xr.patches.extract import LeakageWarning, extract_patches
from seg4eo_xr.patches.pairs import ScenePair
from seg4eo_xr.patches.report import describe_html, describe_text, patch_names
from seg4eo_xr.scenes.classes import ClassTable
from seg4eo_xr.testing import synthetic_sentinel2

NAMES = ("water & mud", "wood", "<meadow>", "field", "soil", "town")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    scene, labels = synthetic_sentinel2((100, 100), seed=3)
    path = tmp_path_factory.mktemp("store") / "patches.zarr"
    classes = ClassTable.from_codes(range(1, 7), NAMES)
    options = {"patch_size": 16, "shard_size": 8, "edges": "drop", "progress": False}
    labels = labels.drop_attrs(deep=False).rio.write_nodata(255)
    return extract_patches(
        scene, labels, path, classes=classes, min_labelled_fraction=0.5, **options
    )


@pytest.fixture(scope="module")
def leaking(tmp_path_factory):
    scene, labels = synthetic_sentinel2((64, 64), seed=3)
    path = tmp_path_factory.mktemp("leaking") / "patches.zarr"
    with pytest.warns(LeakageWarning):
        return extract_patches(
            scene, labels, path, patch_size=16, stride=8, split=RandomSplit(), progress=False
        )


def row_of(text: str, name: str) -> list[str]:
    (line,) = [line for line in text.splitlines() if line.startswith(name)]
    return line.removeprefix(name).split()


def test_the_numbers_are_those_of_the_store(store):
    text = describe_text(store)
    assert f"{len(store)} patches of 16 × 16 px, 10 bands of uint16" in text
    assert row_of(text, "patches ") == [str(len(store.indices(split))) for split in SPLITS]
    counts = {split: store.class_counts(split) for split in SPLITS}
    assert row_of(text, "labelled pixels") == [str(sum(counts[split].values())) for split in SPLITS]
    shares = [float(word) for word in row_of(text, "2 wood") if word != "%"]
    totals = [sum(counts[split].values()) for split in SPLITS]
    expected = [100 * counts[s][2] / total for s, total in zip(SPLITS, totals, strict=True)]
    assert shares == pytest.approx(expected, abs=0.005)
    table = text[text.index("band (test") :]
    statistics = store.statistics("test")
    numbers = [float(word) for word in row_of(table, "B8A")]
    wanted = [float(statistics[name].sel(band="B8A")) for name in statistics.data_vars]
    assert numbers == pytest.approx(wanted, rel=1e-5)


def test_what_is_left_out_or_unused_is_told(store):
    text = describe_text(store)
    assert f"unused: {int((store.splits == 'unused').sum())} patches" in text
    assert "windows that reach past the edge" in text
    assert all(len(line) < 120 for line in text.splitlines() if str(store.path) not in line)


def test_leakage_is_warned_of(leaking, store):
    problems = leaking.leakage.problems()
    assert problems
    for problem in problems:
        assert f"warning: {problem}" in describe_text(leaking)
        assert problem in "".join(ElementTree.fromstring(as_xml(describe_html(leaking))).itertext())
    assert "warning" not in describe_text(store)


def as_xml(markup: str) -> str:
    return markup.replace("<br>", "<br/>")


def test_html_says_what_the_text_says_and_escapes_names(store):
    html = describe_html(store)
    told = "".join(ElementTree.fromstring(as_xml(html)).itertext())
    for name, color in zip(NAMES, store.contract.classes.colors, strict=True):
        assert name in told
        assert color in html
    assert "<meadow>" not in html
    words = set(re.sub(r"[^\w.%]+", " ", describe_text(store)).split())
    assert words <= set(re.sub(r"[^\w.%]+", " ", as_spaced(html)).split()) | {"split"}


def as_spaced(html: str) -> str:
    return " ".join(ElementTree.fromstring(as_xml(html)).itertext())


def test_many_scenes_are_counted_and_not_listed(store):
    entry = store.attrs["scenes"][0]
    many = type(store)(
        store.path,
        store.group,
        {**store.attrs, "scenes": [{**entry, "name": f"s{i}"} for i in range(30)]},
    )
    text = describe_text(many)
    assert "scene s9 in EPSG:32633" in text
    assert "and 20 scenes more" in text
    assert "s10" not in text


def test_patches_are_named_by_their_ids_and_by_their_scenes_too_where_those_repeat(store, tmp_path):
    assert patch_names(store) == store.coordinate("id").tolist()
    scene, labels = synthetic_sentinel2((32, 32), seed=1)
    pairs = [ScenePair(name, scene, labels) for name in ("north/1", str(tmp_path / "s.tif"))]
    rule = RandomSplit(1.0, 0.0, 0.0)
    both = extract_batch(
        pairs, tmp_path / "p.zarr", patch_size=16, split=rule, progress=False
    ).store
    expected = {
        f"{name}/{row}_{col}" for name in ("north/1", "s") for row in (0, 16) for col in (0, 16)
    }
    assert set(patch_names(both)) == expected


def test_nothing_is_read_from_the_patches(store, monkeypatch):
    def refuse(*_):
        raise AssertionError("a patch was read")

    monkeypatch.setattr(type(store), "arrays", refuse)
    assert "labelled pixels" in describe_text(store)
    assert "labelled pixels" in describe_html(store)
