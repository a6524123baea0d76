"""Files, words and paths that once ended in a traceback, a hang or too much memory: one line each.

`scripts/fuzz.py` finds such cases; here stay those that were found, and a few that it draws.
"""

import importlib.util
import os
import random
import sys
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
import yaml

from leadline import cli, files
from leadline.config.compose import MOST_RUNS, compose
from leadline.data.cells import read_cells
from leadline.data.cells.limits import is_ours
from leadline.errors import UserError
from leadline.studies import expand, read
from leadline.studies.expand import varied

SCRIPT = Path(__file__).parents[1] / "scripts" / "fuzz.py"
if not SCRIPT.exists():
    pytest.skip("scripts/ is not there", allow_module_level=True)
SPEC = importlib.util.spec_from_file_location("fuzz", SCRIPT)
fuzz = importlib.util.module_from_spec(SPEC)
sys.modules["fuzz"] = fuzz
SPEC.loader.exec_module(fuzz)


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    place = tmp_path_factory.mktemp("originals")
    fuzz.make_h5ad(place / "cells.h5ad")
    fuzz.make_tenx_h5(place / "tenx.h5")
    fuzz.make_folder(place / "tenx")
    return place


@pytest.fixture
def h5ad(originals, tmp_path):
    path = tmp_path / "cells.h5ad"
    path.write_bytes((originals / "cells.h5ad").read_bytes())
    return path


def change(path, act):
    with h5py.File(path, "a") as file:
        act(file)


def replaced(file, name, value=None, **options):
    del file[name]
    if value is None:
        file.create_dataset(name, **options)
    else:
        file[name] = value


# What was done to an h5ad → what is said.
CHANGES = {
    "obs/_index gone": (lambda f: f.__delitem__("obs/_index"), "cannot be read"),
    "codes gone": (lambda f: f.__delitem__("obs/ct/codes"), "cannot be read"),
    "column-order odd": (lambda f: f["obs"].attrs.__setitem__("column-order", 3), "cannot be read"),
    "obs a number": (lambda f: replaced(f, "obs", 3.0), "obs is no table"),
    "obs no table": (
        lambda f: f["obs"].attrs.__setitem__("encoding-type", "dict"),
        "where .*obs cannot",
    ),
    "a dangling link": (
        lambda f: replaced(f, "X/data", h5py.SoftLink("/nothing")),
        "X/data is a link to nothing",
    ),
    "a link out of the file": (
        lambda f: replaced(f, "X/data", h5py.ExternalLink("/etc/passwd", "/x")),
        "X/data is a link into another file",
    ),
    "a link in a circle": (
        lambda f: replaced(f, "obs/ct", f["obs"]),
        "is a link in a circle",
    ),
    "a claimed matrix": (
        lambda f: replaced(f, "X", shape=(60, 10**9), dtype="f4", chunks=True),
        r"X claims \(60, 1000000000\), of which 0 bytes are there",
    ),
    "a claimed column": (
        lambda f: replaced(f, "obs/n", shape=(10**13,), dtype="f4", chunks=True),
        "obs/n claims",
    ),
    "a bomb": (
        lambda f: replaced(
            f, "obs/n", shape=(10**8,), dtype="i8", chunks=(10**6,), compression="gzip",
            data=np.zeros(10**8, "i8"),
        ),
        "obs/n claims",
    ),
    "one large chunk": (
        lambda f: replaced(f, "obs/n", shape=(10**8,), dtype="i8", chunks=(10**8,)),
        "obs/n",
    ),
    "a shape of one number": (
        lambda f: f["X"].attrs.__setitem__("shape", [3]),
        "a shape of",
    ),
    "a negative shape": (lambda f: f["X"].attrs.__setitem__("shape", [-5, 30]), "a shape of -5"),
    "a shape beyond indices": (
        lambda f: f["X"].attrs.__setitem__("shape", [10**15, 30]),
        "a shape of 1,000,000,000,000,000",
    ),
    "indptr a group": (
        lambda f: (f.__delitem__("X/indptr"), f.create_group("X/indptr")),
        "indptr that is no array",
    ),
    "a name of megabytes": (
        lambda f: f["obs/_index"].__setitem__(0, "y" * 3_000_000),
        "one of 3,000,000 in the index of obs",
    ),
    "layers an array": (lambda f: replaced(f, "layers", 3.0), "layers is no group"),
    "values of another file": (
        lambda f: replaced(f, "obs/n", shape=(60,), dtype="f8", external=[("raw.bin", 0, 480)]),
        "obs/n has its values in another file",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_changed_h5ad_is_one_line_with_the_place(name, h5ad):
    act, said = CHANGES[name]
    change(h5ad, act)
    with pytest.raises(UserError, match=said) as caught:
        read_cells(h5ad, name="x", label="ct")
    assert "\n" not in str(caught.value) and "cells.h5ad" in str(caught.value) or "index" in said


def test_a_fault_of_ours_is_not_the_files(h5ad):
    try:
        h5py.File(h5ad)["nothing"]
    except KeyError as error:
        assert not is_ours(error)
    try:
        files.write_json(Path("x"), 3, 4)
    except TypeError as error:
        assert not is_ours(error), "the call was the test's"
    with pytest.raises(ZeroDivisionError) as caught:
        compile_in_package("1 / 0")
    assert is_ours(caught.value)


def compile_in_package(text):
    exec(compile(text, str(Path(files.__file__)), "exec"), {})


@pytest.mark.parametrize("header", ["30 60 1000000000000000000", "30 1000000000000 5", "30 60",
                                    "-1 60 5", "30 60 99999999999999999999999"])  # fmt: skip
def test_headers_of_mtx_claim_no_more_than_there_is(header, originals, tmp_path):
    folder = tmp_path / "tenx"
    folder.mkdir()
    for path in (originals / "tenx").iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    lines = (folder / "matrix.mtx").read_text().splitlines()
    (folder / "matrix.mtx").write_text("\n".join([lines[0], header, *lines[2:]]) + "\n")
    with pytest.raises(UserError, match="must be a whole Matrix Market file"):
        read_cells(folder, name="x")


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"barcode,ct\ncell0,a,b,c,d\n"])
def test_an_obs_table_that_is_none(content, originals, tmp_path):
    (tmp_path / "tenx.h5").write_bytes((originals / "tenx.h5").read_bytes())
    (tmp_path / "obs.csv").write_bytes(content)
    with pytest.raises(UserError, match="obs.csv"):
        read_cells(tmp_path / "tenx.h5", name="x", label="ct")


@pytest.mark.parametrize("size", [1, 3, 2])
def test_shapes_of_10x_files(size, originals, tmp_path):
    path = tmp_path / "tenx.h5"
    path.write_bytes((originals / "tenx.h5").read_bytes())
    change(path, lambda f: replaced(f, "matrix/shape", np.full(size, 10**12)))
    with pytest.raises(UserError, match="a shape of"):
        read_cells(path, name="x")


def test_arrays_that_claim_more_than_they_have(tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, a=np.zeros(3))
    with zipfile.ZipFile(path) as packed:
        content = packed.read("a.npy")
    with zipfile.ZipFile(path, "w") as packed:
        packed.writestr("a.npy", content.replace(b"(3,)", b"(99999999999,)"))
    with pytest.raises(UserError, match="an .npz must hold plain arrays and be whole"):
        files.arrays_of(path)


@pytest.mark.parametrize("words", [["hydra/launcher=1.5"], ["hydra=0"], ["hydra=nan"],
                                   ["hydra.run.dir=x"], ["hydra/sweeper=basic"]])  # fmt: skip
def test_words_of_hydra_are_no_settings(words):
    with pytest.raises(UserError, match="a setting must exist: got 'hydra"):
        compose(words)


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("seed=glob(*)", "values are listed one by one"),
        ("seed=range(1,5,0)", "a step that is not 0"),
        ("seed=range(5,1)", "a range without values"),
        ("seed=range(1,inf)", "a range has two ends"),
        ("seed=range(1,1000000000)", "a study may have 20,000 runs: got 999,999,999"),
    ],
)
def test_values_are_counted_before_they_are_made(word, said):
    with pytest.raises(UserError, match=said):
        varied([word])


def study_file(tmp_path, **more):
    arms = {"reference": {"model": "logreg"}, "other": {"model": "mlp"}}
    path = tmp_path / "study.yaml"
    content = {"question": "?", "arms": arms} | more
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return str(path)


def test_a_grid_says_which_factor_makes_so_many_runs(tmp_path):
    fractions = [0.1, 0.2, 0.3, 0.4, 0.5]
    grid = {"seed": list(range(1, 2001)), "data.fraction": fractions, "train.lr": [0.1, 0.2, 0.3]}
    study = read(study_file(tmp_path, grid=grid))
    with pytest.raises(UserError, match=r"may have 20,000 runs: got 60,000.*give seed fewer"):
        expand(study, [])
    few = read(study_file(tmp_path, grid={"seed": [1]}))
    with pytest.raises(UserError, match="999,999,998 of seed"):
        expand(few, ["seed=range(2,1000000000)"])
    assert MOST_RUNS == 20_000


def test_limits_of_tiers_are_numbers(tmp_path):
    tiers = [{"below": [], "settings": {}}, {"settings": {}}]
    with pytest.raises(UserError, match="by_size must be a list of settings with ascending limits"):
        read(study_file(tmp_path, by_size=tiers))


@pytest.mark.parametrize("text", ["&a [*a]", "[" * 3000, "a: \0"])
def test_studies_that_repeat_themselves(text, tmp_path):
    levels = "\n".join(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, 12))
    for content in (text, f"l0: &l0 [x]\n{levels}\n"):
        (tmp_path / "s.yaml").write_text(content)
        with pytest.raises(UserError, match="the file of a study must be YAML") as caught:
            read(str(tmp_path / "s.yaml"))
        assert "\n" not in str(caught.value)


def test_paths_that_lead_nowhere(tmp_path, capsys):
    (tmp_path / "loop.h5ad").symlink_to("loop.h5ad")
    os.mkfifo(tmp_path / "pipe.h5ad")
    for path in (tmp_path / "loop.h5ad", tmp_path / ("x" * 300), tmp_path / "pipe.h5ad"):
        words = ["model=majority", "data=h5ad", f"data.path={path}", "data.label=ct"]
        assert cli.main(["run", *words]) == cli.MISTAKE
        assert cli.main(["claims", "draft", str(path)]) == cli.MISTAKE
        assert "Traceback" not in capsys.readouterr().err


def test_a_home_that_nobody_has(capsys):
    assert cli.main(["plan", "~nobody-here.yaml"]) == cli.MISTAKE
    said = capsys.readouterr().err
    assert "must name a home that there is" in said and "Traceback" not in said


def test_a_fault_of_ours_asks_for_a_report(monkeypatch, capsys):
    def broken(chosen):
        raise KeyError("ours")

    monkeypatch.setattr("leadline.cli.list.call", broken)
    assert cli.main(["list"]) == cli.FAILED
    said = capsys.readouterr().err
    assert "KeyError: 'ours'" in said and said.splitlines()[-1] == cli.REPORT


@pytest.mark.parametrize("door", ["h5ad", "tenx_h5", "tenx_folder", "npz", "words", "study"])
def test_drawn_cases_fall_nowhere(door, originals, tmp_path):
    for seed in random.Random(door).sample(range(10**6), 6):
        folder = tmp_path / str(seed)
        folder.mkdir()
        assert fuzz.try_case(door, seed, originals, folder) == ""
