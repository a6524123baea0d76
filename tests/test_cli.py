"""What the command line promises: exit codes, last lines, one screen of help, a quick start."""

import subprocess
import sys

import pytest

from leadline import __version__, cli
from leadline.cli import parsed
from leadline.cli.parser import COMMANDS

HEAVY = ("torch", "sklearn", "anndata", "h5py", "hydra", "pandas", "scipy", "numpy", "rich")


def modules_after(*words):
    """Give the top-level modules loaded when a command has ended."""
    code = (
        "import sys; from leadline.cli import main\n"
        f"try: main({list(words)!r})\n"
        "except SystemExit: pass\n"
        "print(' '.join({name.partition('.')[0] for name in sys.modules}), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stderr.splitlines()[-1].split())


@pytest.mark.parametrize(
    "words", [["--help"], ["--version"], ["run", "--help"], ["doctor", "--help"]]
)
def test_help_loads_nothing_heavy(words):
    assert modules_after(*words).isdisjoint(HEAVY)


def test_a_misspelt_setting_is_found_before_anything_heavy_is_loaded():
    assert modules_after("run", "modl=logreg").isdisjoint({"torch", "sklearn", "anndata", "scipy"})


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)])
def test_help_fits_one_screen_and_ends_with_an_example(command, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main([*command, "--help"])
    shown = capsys.readouterr().out
    assert ended.value.code == 0
    assert len(shown.splitlines()) <= 40
    assert shown.strip().splitlines()[-1].startswith("example: leadline ")


def test_version(capsys):
    with pytest.raises(SystemExit):
        cli.main(["--version"])
    assert capsys.readouterr().out == f"leadline {__version__}\n"


@pytest.mark.parametrize("words", [[], ["rnu"], ["run", "--fast"]])
def test_unknown_commands_and_flags_are_mistakes(words, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(words)
    assert ended.value.code == cli.MISTAKE


def test_settings_may_stand_before_and_behind_a_flag():
    for words in ("x --until decided a=1 b=2", "x a=1 --until decided b=2", "x a=1 b=2 --watch"):
        assert parsed(["ablate", *words.split()]).overrides == ["a=1", "b=2"]


def test_a_place_that_cannot_be_written_to_is_a_mistake(tmp_path, capsys):
    (tmp_path / "file").touch()
    words = ["data=zheng_like", "data.n_cells=100", f"data_dir={tmp_path / 'file' / 'data'}"]
    assert cli.main(["run", "model=majority", f"runs_dir={tmp_path / 'runs'}", *words]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "(Not a directory); choose another place" in said


def test_a_mistake_is_one_line_and_exit_code_2(capsys):
    assert cli.main(["run", "model=logrg"]) == cli.MISTAKE
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("leadline: model must be one of")
    assert len(shown.err.splitlines()) == 1
