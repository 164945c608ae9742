"""Laws of the shell around the commands: help, settings files, answers for machines, completion."""

from __future__ import annotations

import json
import logging
import os
import pty
import shutil
import subprocess
import sys
from dataclasses import MISSING
from pathlib import Path
from typing import Any, get_args, get_origin

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from seg4eo_xr.cli import COMMANDS, main
from seg4eo_xr.cli.groups import GROUPS
from seg4eo_xr.cli.option import build, options_of
from seg4eo_xr.cli.parser import GENERAL_FLAGS, split_words
from seg4eo_xr.cli.settings import read_settings, write_settings
from seg4eo_xr.cli.values import UNSET
from seg4eo_xr.cli.voices import voices
from seg4eo_xr.kinds import choices_of, members_of
from seg4eo_xr.maps.cog import write_cog
from seg4eo_xr.patches.extract import extract_patches
from seg4eo_xr.scenes.classes import ClassTable
from seg4eo_xr.testing import synthetic_sentinel2

COMMAND = shutil.which("seg4eo-xr", path=Path(sys.executable).parent) or ""
TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1).filter(
    lambda text: text.strip() and text.lower() != UNSET
)
KINDS: dict[Any, st.SearchStrategy[Any]] = {
    bool: st.booleans(),
    int: st.integers(-(2**40), 2**40),
    float: st.floats(allow_nan=False),
    str: TEXT,
    Path: TEXT.map(Path),
}


def values_of(kind: Any) -> st.SearchStrategy[Any]:
    """Anything that a type accepts."""
    return st.one_of([values_of_part(part) for part in members_of(kind) if part is not type(None)])


def values_of_part(part: Any) -> st.SearchStrategy[Any]:
    origin = get_origin(part)
    if origin is tuple:
        return st.lists(values_of(get_args(part)[0]), max_size=3).map(tuple)
    if origin in KINDS or part in KINDS:
        return KINDS[part]
    if choices_of(part):
        return st.sampled_from(choices_of(part))
    return st.dictionaries(TEXT, values_of(get_args(part)[1]), max_size=3)


@pytest.mark.parametrize("name", COMMANDS)
@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_a_dump_read_back_is_the_same_command(name, data, tmp_path):
    command = COMMANDS[name]
    values = {}
    for option in options_of(command):
        if option.required or data.draw(st.booleans()):
            values[option.name] = data.draw(values_of(option.kind), label=option.name)
    path = tmp_path / "run.toml"
    path.write_text(write_settings(name, command, values), encoding="utf-8")
    read = read_settings(str(path), command)
    defaults = {option.name: option.default for option in options_of(command)}
    whole = {key: value for key, value in (defaults | values).items() if value is not None}
    assert {key: value for key, value in read.items() if value is not None} == whole


@pytest.mark.parametrize("name", COMMANDS)
def test_a_dump_from_the_shell_is_the_same_command(name, tmp_path, capsys):
    command = COMMANDS[name]
    words = name.split()
    for option in options_of(command):
        if option.required:
            words += [f"--{option.name}", (choices_of(option.kind) or ("x.tif",))[0]]
    assert main([*words, "--dump_config"]) == 0
    path = tmp_path / "run.toml"
    path.write_text(capsys.readouterr().out, encoding="utf-8")
    values, _ = split_words(name, command, words[len(name.split()) :])
    assert build(command, read_settings(str(path), command)) == build(command, values)
    assert main([*name.split(), "--config", str(path), "--dump_config"]) == 0
    assert capsys.readouterr().out == path.read_text(encoding="utf-8")


def test_words_go_before_the_file(tmp_path, capsys):
    path = tmp_path / "run.toml"
    path.write_text('dataset-root = "p.zarr"\nepochs = 3\noverwrite = true\npretrained = false\n')
    line = ["train", "--config", str(path), "--epochs", "7", "--no_overwrite", "--dump-config"]
    assert main(line) == 0
    told = capsys.readouterr().out.splitlines()
    for expected in ('dataset_root = "p.zarr"', "epochs = 7", "overwrite = false"):
        assert expected in told
    assert "pretrained = false" in told


def test_a_file_may_begin_with_a_byte_order_mark(tmp_path, capsys):
    path = tmp_path / "run.toml"
    path.write_text('dataset_root = "p.zarr"\nepochs = 3\n', encoding="utf-8-sig")
    assert main(["train", "--config", str(path), "--dump_config"]) == 0
    assert "epochs = 3" in capsys.readouterr().out.splitlines()


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("epoch = 3", "unknown option 'epoch'; did you mean 'epochs'?"),
        ('epochs = "many"', "epochs = 'many' is not a whole number"),
        ("epochs = 2.5", "epochs = 2.5 is not a whole number"),
        ("epochs = true", "epochs = True is not a whole number"),
        ("overwrite = 1", "overwrite = 1 is not true or false"),
        ('model = "unte"', "did you mean 'unet'?"),
        ("class_weights = 2", "class_weights = 2 is not numbers"),
        ("epochs = = 3", "no TOML"),
        ("[train]\nepochs = 3", "[train] is a table, but options stand by themselves"),
    ],
)
def test_a_wrong_line_of_a_file_is_told(line, named, tmp_path, capsys):
    path = tmp_path / "run.toml"
    path.write_text(f'dataset_root = "p.zarr"\n{line}\n')
    assert main(["train", "--config", str(path)]) == 2
    told = capsys.readouterr().err
    assert told.count("error: ") == 1
    assert named in told
    assert str(path) in told


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("trian", "did you mean 'train'?"),
        ("extract sinlge", "did you mean 'extract single'?"),
        ("train --epocs 3", "did you mean --epochs?"),
        ("train --modle unet", "did you mean --model?"),
        ("train --epochs three", "--epochs: 'three' is not a whole number"),
        ("train --epochs", "--epochs: expected one argument"),
        ("train --model unet+", "did you mean 'unet++'?"),
        ("train --loss_type dise", "did you mean 'dice'?"),
        ("predict --layers classes confidense", "did you mean 'confidence'?"),
        ("predict --input a --output b", "--model must be given; see seg4eo-xr predict --help"),
        ("info patches.zarr", "unexpected 'patches.zarr'"),
        ("completion bsh", "did you mean 'bash'?"),
        ("models --config nowhere.toml", "nowhere.toml"),
        ("--json", "a command is missing"),
    ],
)
def test_a_slip_is_told_in_one_line_with_the_nearest(line, named, capsys):
    assert main(line.split()) == 2
    told = capsys.readouterr()
    assert not told.out
    assert len(told.err.splitlines()) == 1
    assert named in json.loads(told.err)["error"] if "--json" in line else named in told.err


def test_what_the_system_refuses_is_told_with_the_place(tmp_path, capsys):
    (tmp_path / "file").touch()
    assert main(["demo", "--output", f"{tmp_path}/file/demo"]) == 2
    assert capsys.readouterr().err == f"error: {tmp_path}/file/demo: Not a directory\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_explained_in_plain_words_within_80_letters(name, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["help", *name.split()]) == 0
    page = capsys.readouterr().out
    command = COMMANDS[name]
    for option in options_of(command):
        assert f"--{option.name}" in page or option.name == command.FIRST_WORD
        assert option.text, f"--{option.name} has no help"
    for strange in ("None", "False", "True", "``", "{None}", "PATH", "STR", "\x1b"):
        assert strange not in page, strange
    assert page.index("Example:") < page.index("For every command:")
    assert max(map(len, page.splitlines())) <= 80


def test_the_overview_lists_every_command_in_one_line(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["--help"]) == 0
    page = capsys.readouterr().out
    for name in COMMANDS:
        assert sum(line.startswith(f"  {name} ") for line in page.splitlines()) == 1
    assert max(map(len, page.splitlines())) <= 80
    assert "130 interrupted" in page
    assert main([]) == 2


def test_help_shows_what_stands_first_without_a_name_and_folders_as_such(capsys):
    assert main(["completion", "--help"]) == 0
    page = capsys.readouterr().out
    assert "  {bash,zsh,fish,tcsh}  The shell." in page
    assert "--shell" not in page
    for words in (["bash"], ["--shell", "bash"], ["--json", "bash"]):
        values, _ = split_words("completion", COMMANDS["completion"], words)
        assert values == {"shell": "bash"}
    for name in ("demo", "export"):
        assert main([name, "--help"]) == 0
        assert "--output FOLDER" in capsys.readouterr().out


def test_no_two_options_of_a_command_are_explained_alike():
    for name, command in COMMANDS.items():
        texts = [option.text for option in options_of(command)]
        assert len(set(texts)) == len(texts), name


def test_options_of_a_command_have_names_of_their_own():
    for command in COMMANDS.values():
        names = [option.name for option in options_of(command)]
        assert len(set(names)) == len(names)
        assert not {*GENERAL_FLAGS, "config", "help"} & set(names)


def test_groups_name_fields_that_are_there():
    titles = {option.group for one in COMMANDS.values() for option in options_of(one)}
    names = {option.name for one in COMMANDS.values() for option in options_of(one)}
    for groups in GROUPS.values():
        assert set(groups) <= titles
        assert {name for fields in groups.values() for name in fields} <= names


def test_a_default_of_the_functions_is_that_of_the_shell():
    from seg4eo_xr.training.config import TrainConfig

    shown = {one.name: one.default for one in options_of(COMMANDS["train"])}
    assert {name: shown[name] for name in vars(TrainConfig())} == vars(TrainConfig())
    assert shown["dataset_root"] is MISSING


def test_an_answer_for_machines_is_one_document(tmp_path, capsys):
    assert main(["models", "--json"]) == 0
    assert "unet++" in json.loads(capsys.readouterr().out)["models"]
    assert main(["--json", "info", "--dataset_root", f"{tmp_path}/none.zarr"]) == 2
    told = capsys.readouterr()
    assert not told.out
    error = json.loads(told.err.splitlines()[-1])
    assert error["status"] == 2
    assert "none.zarr" in error["error"]


def test_what_is_told_beside_depends_on_how_loud(capsys):
    logger = logging.getLogger("seg4eo_xr.somewhere")
    theirs = logging.getLogger("distributed.scheduler")
    for how, expected in (
        ({"quiet": True, "verbose": False}, "much"),
        ({"quiet": False, "verbose": False}, "some much"),
        ({"quiet": False, "verbose": True}, "little some much"),
    ):
        with voices(**how):
            logger.debug("little")
            logger.info("some")
            logger.warning("much")
            assert theirs.isEnabledFor(logging.INFO) == how["verbose"] or how["verbose"]
        assert capsys.readouterr().err.split() == expected.split()
    assert logging.getLogger("seg4eo_xr").level == logging.NOTSET


def run_in_shell(line: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a line of bash in which `seg4eo-xr` is the command."""
    script = f'set -o pipefail; seg4eo-xr() {{ "{COMMAND}" "$@"; }}; {line}'
    env = os.environ | environment
    return subprocess.run(["bash", "-c", script], capture_output=True, text=True, env=env)


@pytest.mark.skipif(not shutil.which("bash"), reason="needs bash")
@pytest.mark.parametrize(
    ("streams", "environment"),
    [
        ("2>&1 | true", {}),
        ("2>&-", {}),
        (">&-", {}),
        ("2>/dev/full", {}),
        ("", {"PYTHONIOENCODING": "ascii"}),
    ],
)
def test_what_cannot_be_told_stops_no_work(streams, environment, tmp_path):
    _, labels = synthetic_sentinel2((64, 64), classes=2)
    classes = ClassTable.from_codes(labels.attrs["flag_values"], ["Wälder", "Seen"])
    named = labels.assign_attrs(classes.to_attrs())
    write_cog(named.to_dataset(name="classes"), tmp_path / "map.tif")
    words = f"sample --prediction {tmp_path}/map.tif --output {tmp_path}/s.gpkg"
    words += " --size 8 --minimum 2"
    done = run_in_shell(f"seg4eo-xr {words} {streams}", **environment)
    assert (tmp_path / "s.gpkg").exists()
    assert done.returncode == 0
    assert "rror" not in done.stderr
    if environment:
        assert "W?lder" in done.stdout
        done = run_in_shell(f"seg4eo-xr {words} --overwrite --json", **environment)
        assert json.loads(done.stdout)["strata"][0]["name"] == "Wälder"


def test_colours_are_for_terminals_alone():
    assert b"\x1b[1m" in on_a_terminal([COMMAND, "info", "--help"])
    assert b"\x1b" not in on_a_terminal([COMMAND, "info", "--help"], NO_COLOR="1")
    piped = subprocess.run([COMMAND, "info", "--help"], capture_output=True, check=True)
    assert b"\x1b" not in piped.stdout


def on_a_terminal(words: list[str], **environment: str) -> bytes:
    """What a command prints on a terminal."""
    leader, follower = pty.openpty()
    plain = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    environment = plain | {"TERM": "xterm", **environment}
    with subprocess.Popen(words, stdout=follower, stderr=follower, env=environment):
        os.close(follower)
        told = b""
        # A terminal whose other end is closed ends in an error.
        while part := _read(leader):
            told += part
    os.close(leader)
    return told


def _read(handle: int) -> bytes:
    try:
        return os.read(handle, 4096)
    except OSError:
        return b""


def completed(script: Path, line: str) -> set[str]:
    """What bash offers at the end of a line."""
    code = """
        source "$1"; shift
        COMP_WORDS=("$@"); COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
        $(complete -p seg4eo-xr | sed 's/.*-F \\([^ ]*\\).*/\\1/')
        printf '%s\\n' "${COMPREPLY[@]}"
    """
    words = [*line.split(), ""] if line.endswith(" ") else line.split()
    done = subprocess.run(
        ["bash", "-c", code, "bash", str(script), *words],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.split())


@pytest.mark.skipif(not shutil.which("bash"), reason="needs bash")
def test_bash_completes_commands_options_and_choices(tmp_path, capsys):
    assert main(["completion", "bash"]) == 0
    script = tmp_path / "completion.bash"
    script.write_text(capsys.readouterr().out)
    assert {"train", "predict", "extract"} <= completed(script, "seg4eo-xr ")
    assert completed(script, "seg4eo-xr pre") == {"predict"}
    assert {"single", "batch"} <= completed(script, "seg4eo-xr extract ")
    assert completed(script, "seg4eo-xr train --encoder") == {"--encoder_name", "--encoder_weights"}
    assert completed(script, "seg4eo-xr train --scheduler_type o") == {"one_cycle"}


@pytest.mark.parametrize("shell", ["zsh", "fish", "tcsh"])
def test_other_shells_have_scripts_too(shell, capsys):
    assert main(["completion", shell]) == 0
    assert "seg4eo-xr" in capsys.readouterr().out


def test_none_can_be_a_choice():
    from seg4eo_xr.cli.values import from_words
    from seg4eo_xr.models.hints import InputRule

    assert from_words(["none"], InputRule | None) == "none"
    assert from_words(["none"], int | None) is None


def test_an_empty_word_is_no_path(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.toml").write_text('save_dir = ""\n')
    train = ["train", "--dataset_root", "p.zarr"]
    for words in (["--save_dir", ""], ["--save_dir="], ["--save_dir", " "]):
        assert main([*train, *words]) == 2
        assert f"--save_dir: {words[-1].removeprefix('--save_dir=')!r} is not a path" in (
            capsys.readouterr().err
        )
    assert main([*train, "--config", "train.toml"]) == 2
    assert "save_dir = '' is not a path" in capsys.readouterr().err
    for option in ("--input", "--model", "--output"):
        assert main(["predict", option, ""]) == 2
        told = capsys.readouterr().err
        assert f"{option}: '' is not" in told
        assert "(it is empty)" in told


def test_flags_take_a_truth_value_as_the_scripts_do(capsys):
    words = ["train", "--dataset_root", "p.zarr", "--pretrained", "False", "--use_amp=yes"]
    assert main([*words, "--model", "UNet++", "--freeze-encoder", "True", "--dump_config"]) == 0
    told = capsys.readouterr().out.splitlines()
    expected = ["pretrained = false", "use_amp = true", 'model = "unet++"', "freeze_encoder = true"]
    assert set(expected) <= set(told)


@pytest.mark.parametrize(
    ("script", "command"),
    [
        ("main_v2.py", "train"),
        ("./main_binary.py", "train"),
        ("model_training_v2.py", "train"),
        ("Predict_large_image.py", "predict"),
        ("inference_binary.py", "predict"),
        ("Patch_extraction.py", "extract single"),
    ],
)
def test_a_script_of_the_old_tool_is_answered_with_the_command(script, command, capsys):
    assert main([script, "--dataset_root", "OUT"]) == 2
    assert f"understood by seg4eo-xr {command}, see" in capsys.readouterr().err


def test_an_abbreviation_meets_the_whole_word(capsys):
    words = ["calibrate", "--model", "m.pth", "--dataset_root", "p.zarr", "--output", "c.pth"]
    assert main([*words, "--split", "val"]) == 2
    assert "did you mean 'validation'?" in capsys.readouterr().err


def test_options_and_paths_are_checked_before_torch_is_loaded(tmp_path):
    scene, labels = synthetic_sentinel2((128, 128))
    extract_patches(scene, labels, tmp_path / "p.zarr", patch_size=32, progress=False)
    (tmp_path / "run").mkdir()
    for name in ("model_best_iou.pth", "model_final.pth"):
        (tmp_path / "run" / name).touch()
    lines = {
        "--classes says 5": "train --dataset_root p.zarr --classes 5 --save_dir out",
        "--in_channels says 3": "cross-validate --dataset_root p.zarr --in_channels 3",
        "as run/model_best_iou.pth": "predict --model run --input s.tif --output m.tif",
        "no checkpoint file a.pth": "predict --model a.pth --input s.tif --output m.tif",
        "scene 's.tif'": "predict --model run/model_final.pth --input s.tif --output m.tif",
        "old.tif exists already": "predict --model run/model_final.pth --input old.tif --output "
        "old.tif",
    }
    (tmp_path / "old.tif").touch()
    script = f"""
import sys
from seg4eo_xr.cli import main
for line in {list(lines.values())!r}:
    assert main(line.split()) == 2
assert "torch" not in sys.modules
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    for told, line in zip(lines, done.stderr.splitlines(), strict=True):
        assert told in line
