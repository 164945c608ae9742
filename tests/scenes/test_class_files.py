from __future__ import annotations

import numpy as np
import pytest
import rasterio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from seg4eo_xr.maps.cog import write_cog
from seg4eo_xr.scenes.class_files import named_classes, read_classes, write_classes
from seg4eo_xr.scenes.classes import ClassTable, default_color
from seg4eo_xr.scenes.label_options import LabelWarning
from seg4eo_xr.scenes.labels import open_labels
from seg4eo_xr.testing import synthetic_sentinel2

NAMES = st.text(
    st.characters(min_codepoint=33, max_codepoint=0x17F, exclude_characters=";\x7f\x85\xa0"),
    min_size=1,
    max_size=8,
)
COLORS = st.integers(0, 2**24 - 1).map("#{:06x}".format)

RASTER_STYLE = """<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>
<qgis version="3.34"><pipe><rasterrenderer type="paletted" band="1"><colorPalette>
  <paletteEntry value="30" color="#ffff4c" label="grass &amp; herbs" alpha="255"/>
  <paletteEntry value="10" color="#006400" label="" alpha="255"/>
</colorPalette></rasterrenderer></pipe></qgis>"""

VECTOR_STYLE = """<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>
<qgis version="3.34"><renderer-v2 type="categorizedSymbol" attr="kind">
<categories>
  <category symbol="0" value="{0}" label="first" render="true"/>
  <category symbol="1" value="{1}" label="second" render="true"/>
  <category symbol="2" value="" label="all others" render="true"/>
</categories>
<symbols>
  <symbol name="0" type="fill"><layer class="SimpleFill"><Option type="Map">
    <Option name="color" value="1,2,3,255,rgb:0.0039,0.0078,0.0117,1" type="QString"/>
  </Option></layer></symbol>
  <symbol name="1" type="fill"><layer class="SimpleFill">
    <prop k="color" v="255,0,16,255"/></layer></symbol>
  <symbol name="2" type="fill"><layer class="SimpleFill"/></symbol>
</symbols></renderer-v2></qgis>"""


@pytest.fixture
def write(tmp_path):
    def written(name, text, encoding="utf-8"):
        path = tmp_path / name
        path.write_text(text, encoding=encoding)
        return path

    return written


def _raster(path, **tags):
    with rasterio.open(
        path, "w", driver="GTiff", width=4, height=4, count=1, dtype="uint8", nodata=5
    ) as file:
        file.write(np.ones((1, 4, 4), np.uint8))
        if "colors" in tags:
            file.write_colormap(1, tags["colors"])
    return path


@given(st.dictionaries(st.integers(-32768, 32767), st.tuples(NAMES, COLORS), min_size=1))
@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_what_is_written_is_read(tmp_path, classes):
    rows = {name: (code, color) for code, (name, color) in classes.items()}
    ordered = sorted((code, name, color) for name, (code, color) in rows.items())
    table = ClassTable.from_codes(*map(list, zip(*ordered, strict=True)))
    assert read_classes(write_classes(table, tmp_path / "classes.csv")) == table


@pytest.mark.parametrize(
    "text",
    [
        "code,name,color\n80,water,#0064C8\n10,trees,006400\n",
        "Value;Label;Colour\n80;water;0,100,200\n10;trees;rgb(0, 100, 0)\n\n",
        "code,name,color\n80,water,#0064C8\n10,trees,DarkGreen\n",
        "\ufeffNAME\tRed\tGreen\tBlue\tcode\ntrees\t0\t100\t0\t10\nwater\t0\t100\t200\t80.0\n",
    ],
)
def test_tables_of_many_hands(write, text):
    expected = ClassTable.from_codes([10, 80], ["trees", "water"], ["#006400", "#0064c8"])
    assert read_classes(write("classes.csv", text)) == expected


def test_names_and_colours_may_be_missing(write):
    table = read_classes(write("classes.csv", "value\n3\n-1\n"))
    assert table == ClassTable.from_codes([-1, 3])
    named = read_classes(write("some.csv", "code,name\n1,\n2,water\n"))
    assert named.names == ("class 1", "water")


def test_excels_line_of_the_separator_is_no_heading(write):
    table = read_classes(write("classes.csv", "sep=;\ncode;name\n3;water\n"))
    assert table.code_of == {"water": 3}


def test_headings_have_blanks_and_capitals(write):
    table = read_classes(write("classes.csv", "Class Code;Class Name;Count\n3;water;9\n"))
    assert table == ClassTable.from_codes([3], ["water"])


def test_names_under_an_unknown_heading_are_missed_aloud(write):
    path = write("classes.csv", "id,Bezeichnung\n3,Wasser\n")
    with pytest.warns(LabelWarning, match=r"\['bezeichnung'\] holds the names, call it 'name'"):
        assert read_classes(path).names == ("class 3",)


def test_semicolons_and_accents_are_written_in_one_way(write):
    text = 'code,name,color\n1,"reed; wet",\n2,fore\u0302t,\n'
    assert read_classes(write("classes.csv", text)).names == ("reed, wet", "for\u00eat")
    style = RASTER_STYLE.replace("grass &amp; herbs", "reed; wet")
    assert read_classes(write("style.qml", style)).names == ("class 10", "reed, wet")


def test_a_raster_style(write):
    table = read_classes(write("style.qml", RASTER_STYLE))
    assert table == ClassTable.from_codes(
        [10, 30], ["class 10", "grass & herbs"], ["#006400", "#ffff4c"]
    )


def test_vector_styles_of_codes_and_of_names(write):
    codes = read_classes(write("codes.qml", VECTOR_STYLE.format(7, 3)))
    assert codes == ClassTable.from_codes([3, 7], ["second", "first"], ["#ff0010", "#010203"])
    names = read_classes(write("names.qml", VECTOR_STYLE.format("rye", "oats")))
    assert names == ClassTable.from_codes([1, 2], ["rye", "oats"], ["#010203", "#ff0010"])


@pytest.mark.parametrize(
    "text",
    [
        "# QGIS Generated Color Map Export File\nINTERPOLATION:EXACT\n"
        "10,0,100,0,255,trees, tall\n80,0,100,200,255,water\n",
        "10 0 100 0 255 trees, tall\n80 0 100 200 255 water\nnv 0 0 0\n",
        "10:0:100:0 trees, tall\n80:0:100:200 water\n",
    ],
)
def test_colour_maps(write, text):
    table = read_classes(write("colors.txt", text))
    assert table == ClassTable.from_codes(
        [10, 80], ["trees, tall", "water"], ["#006400", "#0064c8"]
    )


def test_a_colour_table_tells_codes_but_names_nothing(tmp_path):
    path = _raster(tmp_path / "map.tif", colors={1: (255, 0, 0), 3: (0, 0, 9), 5: (9, 9, 9)})
    assert read_classes(path) == ClassTable.from_codes([1, 3], None, ["#ff0000", "#000009"])
    assert named_classes(path) is None


def test_a_map_of_wide_codes_has_its_classes_in_tags(tmp_path):
    table = ClassTable.from_codes([-7, 255, 311], ["wet, deep", "roof", "sea"])
    placed = synthetic_sentinel2((64, 64))[1].astype("int16") * 0 + 311
    placed.rio.write_nodata(-9999, inplace=True)
    map_of = placed.rename("classes").assign_attrs({"_FillValue": -9999} | table.to_attrs())
    assert read_classes(write_cog(map_of.to_dataset(), tmp_path / "map.tif")) == table


def test_category_names_of_a_raster(tmp_path, write):
    path = _raster(tmp_path / "map.tif", colors={1: (255, 0, 0)})
    write(
        "map.tif.aux.xml",
        "<PAMDataset><PAMRasterBand band='1'><CategoryNames><Category/><Category>water</Category>"
        "<Category>wood</Category></CategoryNames></PAMRasterBand></PAMDataset>",
    )
    expected = ClassTable.from_codes([1, 2], ["water", "wood"], ["#ff0000", "#000000"])
    assert read_classes(path) == named_classes(path) == expected


def test_the_attribute_table_of_a_raster(tmp_path, write):
    path = _raster(tmp_path / "map.tif")
    cells = ["<F>311</F><F>4</F><F>forest</F>", "<F>5</F><F>4</F><F>no data</F>"]
    rows = "".join(f"<Row index='{i}'>{row}</Row>" for i, row in enumerate(cells))
    kinds = (("Value", 0, 5), ("Count", 0, 1), ("Class", 2, 2))
    fields = "".join(
        f"<FieldDefn index='{i}'><Name>{name}</Name><Type>{kind}</Type><Usage>{use}</Usage>"
        "</FieldDefn>"
        for i, (name, kind, use) in enumerate(kinds)
    )
    table = "<PAMDataset><PAMRasterBand band='1'><GDALRasterAttributeTable>"
    end = f"{rows}</GDALRasterAttributeTable></PAMRasterBand></PAMDataset>"
    write("map.tif.aux.xml", f"{table}{fields}{end}")
    expected = ClassTable.from_codes([311], ["forest"], [default_color(0)])
    assert read_classes(path) == named_classes(path) == expected
    # where the second column is the end of a range, the names are those of ranges
    ranges = fields.replace("<Usage>5<", "<Usage>3<").replace("<Usage>1<", "<Usage>4<")
    write("map.tif.aux.xml", f"{table}{ranges}{end}")
    assert named_classes(path) is None


def test_an_attribute_table_has_colours(tmp_path, write):
    path = _raster(tmp_path / "map.tif")
    columns = [("Value", 0, 5), ("Class", 2, 2)]
    columns += [("R", 0, 6), ("G", 0, 7), ("B", 0, 8)]
    fields = "".join(
        f"<FieldDefn><Name>{name}</Name><Type>{kind}</Type><Usage>{use}</Usage></FieldDefn>"
        for name, kind, use in columns
    )
    cells = "".join(f"<F>{cell}</F>" for cell in (3, "roof", 10, 0, 255))
    write(
        "map.tif.aux.xml",
        "<PAMDataset><PAMRasterBand band='1'><GDALRasterAttributeTable>"
        f"{fields}<Row>{cells}</Row></GDALRasterAttributeTable></PAMRasterBand></PAMDataset>",
    )
    assert named_classes(path) == ClassTable.from_codes([3], ["roof"], ["#0a00ff"])


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "kind,name\n1,water\n", r"a\.csv.*columns \['kind', 'name'\].*'code', 'value'"),
        ("a.csv", "code,name\n1,water\n1.5,wood\n", r"line 3: a class code is a whole.*'1.5'"),
        ("a.csv", "code,name\n1,water\n1,wood\n", r"codes \[1\] more than once"),
        ("a.csv", "code,color\n1,bluish\n", "line 2: a colour is '#rrggbb'.*'bluish'"),
        ("a.csv", "code,color\n1,#11223344\n", "without opacity"),
        ("a.csv", 'code,color\n1,"1,2,300"\n', "0..255"),
        ("a.csv", "code,name\n40000,water\n", r"a\.csv.*16 bits.*40000"),
        ("a.csv", "code,name,Name\n1,water,sea\n", r"columns \['name'\] more than once"),
        ("a.csv", "code,name\n1,trees, tall\n", "line 2 has more cells.*' tall'.*in quotes"),
        ("a.csv", "code,name\n", "holds no class.*expected a CSV"),
        ("a.csv", "", "needs one of"),
        ("a.txt", "1 2 3\n", r"a\.txt.*line 1: expected 'code red green blue'.*'1 2 3'"),
        ("a.qml", "<qgis>", "no valid XML"),
        ("a.qml", "<qgis/>", "style without classes.*Paletted"),
        ("a.qml", "<!DOCTYPE q [<!ENTITY a 'b'>]><qgis>&a;</qgis>", "XML entities"),
    ],
)
def test_files_that_cannot_be_understood_are_refused(write, name, text, message):
    with pytest.raises(ValueError, match=f"(?s){message}"):
        read_classes(write(name, text))


def test_files_that_cannot_be_read_are_refused(write, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.csv"):
        read_classes(tmp_path / "none.csv")
    with pytest.raises(OSError, match=r"a\.tif.*category names"):
        read_classes(write("a.tif", "no raster"))
    with pytest.raises(ValueError, match="UTF-8"):
        read_classes(write("a.csv", "code,name\n1,Wälder\n", "latin-1"))
    (tmp_path / "plain").mkdir()
    with pytest.raises(ValueError, match="holds no class"):
        read_classes(_raster(tmp_path / "plain" / "map.tif"))


REPEATED = "code,name\n231,meadow\n311,forest\n312,forest\n"


def test_a_name_of_two_codes_is_refused(tmp_path):
    (tmp_path / "classes.csv").write_text(REPEATED)
    with pytest.raises(ValueError, match=r"'forest' stands for the codes \[311, 312\].*reclassify"):
        read_classes(tmp_path / "classes.csv")


def test_names_that_a_raster_repeats_are_told_apart(tmp_path):
    path = _raster(tmp_path / "map.tif")
    names = "".join(f"<Category>{name}</Category>" for name in ("", "forest", "unused", "unused"))
    (tmp_path / "map.tif.aux.xml").write_text(
        f"<PAMDataset><PAMRasterBand band='1'><CategoryNames>{names}</CategoryNames>"
        "</PAMRasterBand></PAMDataset>"
    )
    assert read_classes(path).code_of == {"forest": 1, "unused (2)": 2, "unused (3)": 3}


def test_a_table_written_with_a_name_of_two_codes_still_loads():
    attrs = {"flag_values": [1, 2], "flag_meanings": "forest forest"}
    assert ClassTable.from_attrs(attrs).names == ("forest (1)", "forest (2)")
    old = {"codes": [1, 2], "names": ["forest", "forest"], "colors": ["#009e73", "#e69f00"]}
    assert ClassTable.from_dict(old).names == ("forest (1)", "forest (2)")


@pytest.mark.parametrize("classes", [{1: "forest"}, ["forest"]])
def test_what_is_no_class_table_is_named(classes):
    labels = synthetic_sentinel2((32, 32))[1]
    with pytest.raises(TypeError, match=r"ClassTable or the path.*got (dict|list).*from_codes"):
        open_labels(labels, classes=classes)
