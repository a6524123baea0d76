"""The map that a newcomer reads tells the truth."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "leadline"
TEXT = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
ANSWERS = re.findall(r"\| [^|]+ \| `([a-z0-9_/]+\.py)` \| `(\w+)` \|", TEXT)


def test_the_table_has_an_answer_to_each_question():
    assert len(ANSWERS) == 5 and "`runs/tasks/` | a file beside" in TEXT


@pytest.mark.parametrize(("file", "name"), ANSWERS)
def test_a_newcomer_finds_the_function_in_the_file_that_the_map_names(file, name):
    tree = ast.parse((SOURCE / file).read_text(encoding="utf-8"))
    functions = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    assert name in functions


def test_every_room_on_the_map_is_there_and_every_room_is_on_the_map():
    drawn = set(re.findall(r"^  (\w+)/ ", TEXT, flags=re.MULTILINE))
    rooms = {path.parent.name for path in SOURCE.glob("*/__init__.py")}
    assert drawn == rooms
    files = {path.name for path in SOURCE.glob("*.py")} - {"__init__.py"}
    assert all(name in TEXT for name in files)


def test_every_path_that_the_map_names_exists():
    for path in re.findall(
        r"`((?:data|models|runs|report|papers|training|studies)/[\w/.]+)`", TEXT
    ):
        assert (SOURCE / path).exists(), path


def test_the_top_of_the_package_stays_small():
    names = [path for path in SOURCE.iterdir() if path.name != "__pycache__"]
    assert len(names) <= 17


def test_no_class_has_the_name_of_another():
    places = {}
    for path in SOURCE.rglob("*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef):
                places.setdefault(node.name, []).append(str(path.relative_to(SOURCE)))
    assert {name: files for name, files in places.items() if len(files) > 1} == {}


def test_few_files_are_too_small_to_be_a_subject():
    files = SOURCE.rglob("*.py")
    assert sum(len(path.read_text(encoding="utf-8").splitlines()) < 60 for path in files) <= 30
