"""What a study's file may say: read strictly, every mistake named in one line."""

from __future__ import annotations

import math
import re
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from leadline.config.shipped import shipped, studies
from leadline.errors import UserError, nearest
from leadline.stats import metrics, tests
from leadline.stats.looks import levels
from leadline.studies.choices import Choices, read_choices
from leadline.studies.file_values import mapping, text, texts
from leadline.studies.overrides import DECIMAL, INTEGER


class Strict(yaml.SafeLoader):
    """YAML without surprises: a value without quotes is what the command line makes of it.

    So 1e-3 is a number, and yes, 010, 1:30 and 2026-01-01 are text. No key may stand twice: the
    later one would win in silence.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Build a mapping from keys that differ."""
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                raise yaml.MarkedYAMLError(
                    problem="a key must be text or a number", problem_mark=key_node.start_mark
                )
            if key in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"the key {key!r} stands twice", problem_mark=key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


Strict.yaml_implicit_resolvers = {}
for _kind, _pattern in {
    "null": re.compile(r"(?i:null)|~|"),
    "bool": re.compile(r"(?i:true|false)"),
    "int": INTEGER,
    "float": re.compile(rf"(?x:{DECIMAL.pattern}|[+-]?\.(?i:inf)|\.(?i:nan))"),
    "merge": re.compile("<<"),
}.items():
    Strict.add_implicit_resolver(
        f"tag:yaml.org,2002:{_kind}", re.compile(rf"(?:{_pattern.pattern})\Z"), None
    )


class Mark(str):
    """`"@name"`: stands for the id of a run of the study's `pretraining`."""

    __slots__ = ()


# How a file writes a mark; twice, it is the first letter of a text.
MARK = "@"


def unmarked(value: Any) -> Any:
    """Turn the text of a file into a mark, if it is one."""
    if not isinstance(value, str) or not value.startswith(MARK):
        return value
    return value[1:] if value.startswith(MARK * 2) else Mark(value)


COMPARE_KEYS = ("family", "tests", "metrics", "equivalence_margin", "pairs", "cells")


def read_compare(said: Any, arms: Iterable[str]) -> dict[str, Any]:
    """Read which tests, on which metrics, make one family; docs/studies.md gives the schema."""
    compare = dict(mapping("compare", said, COMPARE_KEYS))
    if not compare:
        return compare
    compare.setdefault("tests", ["crossed"])
    for key in ("family", "tests", "metrics"):
        # An empty list of tests asks for none beside the one over fresh runs and cells.
        if not compare.get(key) and compare.get(key) != []:
            raise UserError(
                f"compare must have its {key}",
                got="none",
                remedy=f"add {key}: or leave compare out",
            )
    text("compare: family", compare["family"])
    allowed = {
        "tests": [name for name, row in tests.ROWS.items() if row.asked],
        "metrics": list(metrics.ROWS),
    }
    for key, known in allowed.items():
        for word in texts(f"compare: {key}", compare[key]):
            if word not in known:
                raise UserError(
                    f"compare: {key} must be among {', '.join(known)}",
                    got=repr(word),
                    remedy=nearest(word, known),
                )
    check_margin(compare)
    if compare.get("cells", "fresh") not in ("fresh", "fixed"):
        raise UserError(
            "compare: cells must be fresh or fixed",
            got=repr(compare["cells"]),
            remedy="write fixed if the question is about these very cells, else leave it out",
        )
    if "pairs" in compare:
        compare["pairs"] = [check_pair(pair, arms) for pair in compare["pairs"] or []]
    return compare


def check_margin(compare: Mapping[str, Any]) -> None:
    """Refuse an equivalence test without a margin, and a margin that is none."""
    margin = compare.get("equivalence_margin")
    asked = [test for test in compare["tests"] if test.startswith("tost_")]
    if margin is None and asked:
        raise UserError(
            f"{asked[0]} needs a margin", got="none", remedy="add equivalence_margin: 0.01"
        )
    number = isinstance(margin, int | float) and not isinstance(margin, bool)
    if margin is not None and not (number and 0 < margin < 1):
        raise UserError(
            "compare: equivalence_margin must be a number between 0 and 1",
            got=repr(margin),
            remedy="write for example 0.01, one point of accuracy",
        )


def check_pair(pair: Any, arms: Iterable[str]) -> list[str]:
    """Refuse a pair that does not name two arms."""
    if not isinstance(pair, list) or len(pair) != 2:
        raise UserError(
            "compare: pairs must list pairs of arms",
            got=repr(pair),
            remedy="write for example pairs: [[no_pretraining, reference]]",
        )
    for name in pair:
        if name not in arms:
            raise UserError(
                "compare: pairs must name arms of the study",
                got=repr(name),
                remedy=nearest(str(name), arms),
            )
    return list(pair)


def read_published(said: Any) -> str | None:
    """Read which table or figure of a paper the study repeats."""
    if said is None:
        return None
    return text("published", said)


def read_report(said: Any) -> bool:
    """Read whether the study's command ends with its page."""
    if not isinstance(said, bool):
        raise UserError("report must be true or false", got=repr(said), remedy="write report: true")
    return said


def read_looks(said: Any) -> tuple[int, ...]:
    """Read after how many seeds the study may be looked at; none unless it says so."""
    if said is None:
        return ()
    if not isinstance(said, list):
        raise UserError("looks must be a list", got=repr(said), remedy="write [3, 5, 10, 20]")
    return tuple(levels(said))


def seeded(grids: tuple[Grid, ...], declared: tuple[int, ...]) -> tuple[Grid, ...]:
    """Let the seeds be 1 to the last look where looks are declared and seeds are not."""
    if not declared:
        return grids
    seeds = tuple(range(1, declared[-1] + 1))
    return tuple(grid if "seed" in grid else {**grid, "seed": seeds} for grid in grids)


def check_looks(declared: tuple[int, ...], arms: Mapping[str, Arm]) -> None:
    """Refuse a last look that no arm has the seeds for."""
    seeds = [{seed for grid in arm.grids for seed in grid["seed"]} for arm in arms.values()]
    most = max(map(len, seeds))
    if most < declared[-1]:
        raise UserError(
            "the last of the looks must not need more seeds than the grid has",
            got=f"{declared[-1]}, where {most} are listed",
            remedy=f"list {declared[-1]} of them, or leave seed out of the grid",
        )


FOLDER = "ablations"
MOST_BYTES, MOST_VALUES = 4 << 20, 200_000
KEYS = (
    "question",
    "artefacts",
    "reference",
    "base",
    "by_size",
    "pretraining",
    "arms",
    "grid",
    "choices",
    "compare",
    "looks",
    "published",
    "report",
)
# What a run says of itself and of where it is made; a study's file is the same on every machine.
NOT_IN_A_FILE = ("study", "arm", "runs_dir", "data_dir")

Settings = Mapping[str, Any]
Grid = Mapping[str, Sequence[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One arm: what it sets, which arm it is measured against, and by which factor it differs.

    `grids` replaces the study's for this arm; `also` gives the reason for each further factor;
    `title` is what a report calls it.
    """

    name: str
    settings: Settings
    against: str | None
    grids: tuple[Grid, ...]
    also: Mapping[str, str] = field(default_factory=dict)
    title: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tier:
    """What runs take on besides, if the data has fewer cells than `below`."""

    below: float
    settings: Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """A question, and the runs that answer it."""

    name: str
    question: str
    arms: Mapping[str, Arm]
    reference: str
    artefacts: tuple[str, ...] = ()
    base: Settings = field(default_factory=dict)
    by_size: tuple[Tier, ...] = ()
    pretraining: Mapping[str, Settings] = field(default_factory=dict)
    compare: Mapping[str, Any] = field(default_factory=dict)
    looks: tuple[int, ...] = ()
    published: str | None = None
    report: bool = False
    choices: Choices | None = None


def find_study(name: str) -> Path:
    """Find a study by its name, or by the path of its file."""
    if name.endswith((".yaml", ".yml")):
        path = Path(name).expanduser()
        if not path.is_file():
            raise UserError(
                "the file of a study must exist",
                got=repr(name),
                remedy=f"write it, or choose one of {', '.join(studies())}",
            )
        return path
    if name not in studies():
        raise UserError(
            "a study must be one that leadline brings along, or a file",
            got=repr(name),
            remedy=f"{nearest(name, studies())}; a file of your own ends in .yaml",
        )
    return shipped(FOLDER) / f"{name}.yaml"


def read(name: str) -> Study:
    """Read and check a study's file."""
    path = find_study(name)
    if path.stat().st_size > MOST_BYTES:
        raise UserError(
            f"the file of a study may have {MOST_BYTES:,} bytes",
            got=f"{path.stat().st_size:,} in {path}",
            remedy="ask in several studies",
        )
    try:
        said = yaml.load(path.read_text(encoding="utf-8"), Loader=Strict)
        check_bounded(said)
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError) as error:
        where = getattr(error, "problem_mark", None)
        place = f" in line {where.line + 1}" if where is not None else ""
        raise UserError(
            "the file of a study must be YAML",
            got=f"{str(path)!r}: {getattr(error, 'problem', None) or error}{place}",
            remedy="compare it with ablations/quickstart.yaml",
        ) from error
    return parse_study(path.stem, said)


def check_bounded(said: Any) -> None:
    """Count what a file says with everything that it repeats by reference.

    Raises
    ------
    ValueError
        When that is more than anybody wrote, or refers to itself.
    """
    sizes: dict[int, int] = {}

    def size(value: Any, above: tuple[int, ...]) -> int:
        if not isinstance(value, (dict, list)):
            return 1
        if id(value) in above:
            raise ValueError("a reference to what it stands in")
        if id(value) not in sizes:
            inside = value.values() if isinstance(value, dict) else value
            sizes[id(value)] = 1 + sum(size(each, (*above, id(value))) for each in inside)
        return sizes[id(value)]

    if size(said, ()) > MOST_VALUES:
        raise ValueError(f"more than {MOST_VALUES:,} values, most of them by reference")


def parse_study(name: str, said: Any) -> Study:
    """Turn what a file says into a study."""
    if not all(letter.isalnum() or letter in "_-." for letter in name):
        raise UserError(
            "a study's name is that of its file: letters, digits, '_', '-' and '.'",
            got=repr(name),
            remedy="rename the file",
        )
    said = mapping("a study", said, KEYS)
    for key in ("question", "arms"):
        if not said.get(key):
            raise UserError(
                f"a study must have its {key}", got="none", remedy=f"add {key}: to {name}.yaml"
            )
    base = settings("base", said.get("base") or {})
    pretraining = {
        key: settings(f"pretraining {key}", chosen)
        for key, chosen in mapping("pretraining", said.get("pretraining") or {}).items()
    }
    looks = read_looks(said.get("looks"))
    usual = {} if looks else {"seed": [1]}
    grids = seeded(read_grids("grid", said.get("grid") or usual), looks)
    reference = text("reference", said.get("reference") or "reference")
    arms = {
        key: read_arm(key, chosen, reference, grids, looks)
        for key, chosen in mapping("arms", said["arms"]).items()
    }
    check_references(reference, arms)
    if looks:
        check_looks(looks, arms)
    return Study(
        name=name,
        question=text("question", said["question"]),
        artefacts=tuple(texts("artefacts", said.get("artefacts") or [])),
        reference=reference,
        base=base,
        by_size=read_tiers(said.get("by_size") or []),
        pretraining=pretraining,
        arms=arms,
        compare=read_compare(said.get("compare") or {}, arms),
        looks=looks,
        published=read_published(said.get("published")),
        report=read_report(said.get("report", False)),
        choices=read_choices(said.get("choices")),
    )


def read_arm(
    name: str, said: Any, reference: str, grids: tuple[Grid, ...], looks: tuple[int, ...]
) -> Arm:
    """Read one arm."""
    said = dict(mapping(f"arm {name}", said))
    against = said.pop("against", None if name == reference else reference)
    also = mapping(f"arm {name}: also", said.pop("also", None) or {})
    own = said.pop("grid", None)
    title = said.pop("title", "")
    return Arm(
        name=text("an arm's name", name),
        settings=settings(f"arm {name}", said),
        against=None if against is None else text(f"arm {name}: against", against),
        grids=grids if own is None else seeded(read_grids(f"arm {name}: grid", own), looks),
        also={key: text(f"arm {name}: also {key}", reason) for key, reason in also.items()},
        title=title and text(f"arm {name}: title", title),
    )


def check_references(reference: str, arms: Mapping[str, Arm]) -> None:
    """Refuse a reference that is no arm, and arms that are measured in a circle."""
    if reference not in arms:
        raise UserError(
            "the arms of a study must include its reference",
            got=f"no arm {reference!r} among {', '.join(arms)}",
            remedy="add it, or name another arm with reference:",
        )
    for arm in arms.values():
        if arm.against is not None and arm.against not in arms:
            raise UserError(
                f"arm {arm.name}: against must name an arm",
                got=repr(arm.against),
                remedy=nearest(arm.against, arms),
            )
        path = [arm.name]
        while (following := arms[path[-1]].against) is not None:
            if following in path:
                raise UserError(
                    "arms may not be measured in a circle",
                    got=" against ".join([*path, following]),
                    remedy="let one of them stand on its own with against: null",
                )
            path.append(following)


def read_grids(where: str, said: Any) -> tuple[Grid, ...]:
    """Read a grid, or a list of grids whose runs are put together."""
    blocks = said if isinstance(said, list) else [said]
    grids = []
    for block in blocks:
        grid = {}
        for key, values in settings(where, block).items():
            if not isinstance(values, list) or not values:
                raise UserError(
                    f"{where}: {key} must be a list with at least one value",
                    got=repr(values),
                    remedy=f"write for example {key}: [1, 2, 3]",
                )
            values = [unmarked(value) for value in values]
            if len({repr(value) for value in values}) < len(values):
                raise UserError(
                    f"{where}: {key} must list each value once",
                    got=repr(values),
                    remedy="leave the copies out",
                )
            grid[key] = tuple(values)
        grids.append(grid)
    if not grids:
        raise UserError(f"{where} must hold values", got="an empty list", remedy="add a seed: [1]")
    return tuple(grids)


def read_tiers(said: Any) -> tuple[Tier, ...]:
    """Read what follows from the number of cells: ascending limits, and one tier without."""
    tiers: list[Tier] = []
    for position, block in enumerate(said if isinstance(said, list) else [said]):
        block = mapping("by_size", block, ("below", "settings"))
        below = block.get("below", math.inf)
        last = position == len(said) - 1
        number = isinstance(below, (int, float)) and not isinstance(below, bool)
        ascending = number and (not tiers or below > tiers[-1].below)
        if not ascending or last != (below == math.inf):
            raise UserError(
                "by_size must be a list of settings with ascending limits, the last without one",
                got=repr(block),
                remedy="write for example [{below: 3000, settings: {…}}, {settings: {…}}]",
            )
        tiers.append(Tier(below=below, settings=settings("by_size", block.get("settings"))))
    return tuple(tiers)


def settings(where: str, said: Any) -> dict[str, Any]:
    """Read settings of runs: their keys are checked when runs are composed."""
    chosen = mapping(where, said)
    for key in chosen:
        if key in NOT_IN_A_FILE or key.startswith(("tracker", "hydra")):
            raise UserError(
                f"{where} may hold what a run computes, not where or for whom",
                got=repr(key),
                remedy=f"give {key}= on the command line of leadline ablate",
            )
    return {key: unmarked(value) for key, value in chosen.items()}
