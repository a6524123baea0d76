"""Records and manifests → the studies that a page is about."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from leadline.errors import UserError
from leadline.report.folds import IncompleteReplicate, put_together, runs_of
from leadline.runs import damage, record
from leadline.runs import records as results
from leadline.runs.record import State
from leadline.stats.metrics import HEADLINE

Facts = dict[str, Any]
REFERENCES = ("reference", "logreg")
# What tells where and for whom a run was made, or is told by a column of its own.
ASIDE = re.compile(
    r"(study|arm|runs_dir|data_dir|seed|protocol\.fold|tracker\..*|launcher\..*|data\.(path|fraction|name)"
    r"|train\.(threads|devices|device|keep_best|checkpoint_minutes|micro_batch))"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unfinished:
    """A run that gave no result: how far it got, and why it ended."""

    run_id: str
    arm: str
    state: State
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyResults:
    """A question with its runs: a study's, or those that nobody asked for in one.

    Arms in `records` are named as the study names them; `pairs` are compared, first less second.
    `configs` holds each run's settings, flat, by run id. `cells` says whether the question is about
    fresh cells or about these very ones (`fixed`); `titles` holds what the study calls an arm.
    `incomplete` are seeds that lack a fold. Where `looks` are declared, or seeds were added
    `until` it is decided or precise, each record has its `order` among the seeds; `seeds_before`
    are the numbers of seeds with which a study without looks was done before it had more. Runs of
    a multiverse carry `choices`: `tags` say what is known of each switch, `usual` is its first
    value, `presets` name choices,
    `asked_pairs` are the pairs as the study names them; `several_factors` holds arms that differ
    from what they are compared with in more than one.
    """

    name: str
    question: str
    reference: str
    pairs: tuple[tuple[str, str], ...]
    tests: tuple[str, ...]
    metrics: tuple[str, ...]
    margin: float
    family: str
    artefacts: tuple[str, ...]
    published: str | None
    runs_dir: Path
    records: tuple[Facts, ...]
    pretraining: tuple[Facts, ...]
    unfinished: tuple[Unfinished, ...]
    configs: Mapping[str, Mapping[str, Any]]
    cells: str = "fresh"
    titles: Mapping[str, str] = field(default_factory=dict)
    incomplete: tuple[IncompleteReplicate, ...] = ()
    looks: tuple[int, ...] = ()
    until: str = ""
    seeds_before: tuple[int, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    usual: Mapping[str, str] = field(default_factory=dict)
    presets: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    asked_pairs: tuple[tuple[str, str], ...] = ()
    several_factors: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def damaged(self) -> str:
        """Say which finished records are left out because they are damaged; "" if none is."""
        found = {each.run_id: each for each in self.unfinished if each.state is State.DAMAGED}
        if not found:
            return ""
        shown = "; ".join(f"{each.run_id}: {each.error}" for each in list(found.values())[:3])
        more = f"; and {len(found) - 3} more" if len(found) > 3 else ""
        total = self.finished + len(found)
        are = "is" if len(found) == 1 else "are"
        return (
            f"Warning: {len(found)} of {total} finished records {are} damaged and left out of "
            f"everything below ({shown}{more}). leadline doctor {self.runs_dir} lists them."
        )

    @property
    def finished(self) -> int:
        """Count the runs that are done, those of every fold too."""
        of_folds = sum(len(runs_of(facts)) for facts in self.records)
        return (
            of_folds + sum(len(each.left_out) for each in self.incomplete) + len(self.pretraining)
        )

    @property
    def arms(self) -> list[str]:
        """List the arms that have runs, the reference first, the others as the study has them."""
        found = list(dict.fromkeys(str(facts["arm"]) for facts in self.records))
        declared = [name for pair in self.pairs for name in reversed(pair)]
        order = [self.reference, *declared, *sorted(found)]
        return [arm for arm in dict.fromkeys(order) if arm in found]


def gather(runs_dir: Path, names: Sequence[str], margin: float) -> list[StudyResults]:
    """Read what a page of these studies needs; without names, of all that is there.

    Raises
    ------
    UserError
        When a study is not there, or nothing is finished. Damaged records are left out.
    """
    states = results.find_records(runs_dir)
    manifests = results.studies(runs_dir)
    for name in names:
        results.require_study(name, manifests, runs_dir)
    chosen = {name: manifests[name] for name in names or manifests}
    wanted = {str(run["run_id"]) for manifest in chosen.values() for run in manifest["runs"]}
    folders = {folder.name: folder for folder in states if not names or folder.name in wanted}
    by_name = {folder.name: state for folder, state in states.items()}
    whole, damaged = results.read_usable(runs_dir, {name: by_name[name] for name in folders})
    damage.warn(damaged, len(whole) + len(damaged))
    by_name |= {each.folder.name: State.DAMAGED for each in damaged}
    studies = [
        _of_manifest(name, manifest, runs_dir, whole, by_name, margin)
        for name, manifest in chosen.items()
    ]
    others = [name for name in folders if name not in wanted]
    if others:
        studies.append(_of_the_rest(others, runs_dir, whole, by_name, margin))
    studies = [study for study in studies if study.records or study.pretraining or study.incomplete]
    if not studies:
        raise UserError(
            "a report needs at least one finished run",
            got=f"{len(folders)} runs in {runs_dir}, none of them done",
            remedy="make one with leadline run model=logreg",
        )
    return studies


def of_manifest(manifest: Mapping[str, Any], runs_dir: Path, margin: float) -> StudyResults:
    """Read the finished runs of one study, whose manifest need not have been written yet."""
    folders = [runs_dir / str(run["run_id"]) for run in manifest["runs"]]
    states = {folder.name: record.state(folder) for folder in folders}
    whole, damaged = results.read_usable(runs_dir, states)
    states |= {each.folder.name: State.DAMAGED for each in damaged}
    return _of_manifest(str(manifest["name"]), manifest, runs_dir, whole, states, margin)


def _of_manifest(
    name: str,
    manifest: Mapping[str, Any],
    runs_dir: Path,
    whole: Mapping[str, Facts],
    states: Mapping[str, State],
    margin: float,
) -> StudyResults:
    runs = list(manifest["runs"])
    compare, choices = manifest.get("compare") or {}, manifest.get("choices") or {}
    tests = tuple(compare.get("tests") or ("crossed",))
    declared = {arm: said.get("against") for arm, said in manifest["arms"].items()}
    pairs = compare.get("pairs") or [(arm, other) for arm, other in declared.items() if other]
    return _study(
        runs,
        runs_dir,
        whole,
        states,
        name=name,
        question=str(manifest.get("question") or ""),
        reference=str(manifest.get("reference") or "reference"),
        pairs=tuple((str(a), str(b)) for a, b in pairs),
        asked_pairs=tuple((str(a), str(b)) for a, b in pairs),
        tags=dict(choices.get("tags") or {}),
        usual={str(key): str(found[0]) for key, found in (choices.get("vary") or {}).items()},
        presets=dict(manifest.get("presets") or {}),
        several_factors={
            str(arm): tuple(factors)
            for arm, factors in (manifest.get("several_factors") or {}).items()
        },
        tests=tests,
        metrics=tuple(compare.get("metrics") or HEADLINE),
        margin=float(compare.get("equivalence_margin") or margin),
        family=str(compare.get("family") or name),
        artefacts=tuple(manifest.get("artefacts") or ()),
        published=manifest.get("published"),
        cells=str(compare.get("cells") or "fresh"),
        titles={
            arm: str(each["title"]) for arm, each in manifest["arms"].items() if each.get("title")
        },
        looks=tuple(manifest.get("looks") or ()),
        until=str(manifest.get("until") or ""),
        seeds_before=tuple(manifest.get("seeds_before") or ()),
    )


def _of_the_rest(
    names: Iterable[str],
    runs_dir: Path,
    whole: Mapping[str, Facts],
    states: Mapping[str, State],
    margin: float,
) -> StudyResults:
    runs = [
        {"run_id": name, "arm": str(whole[name]["arm"]) if name in whole else ""} for name in names
    ]
    study = _study(
        runs,
        runs_dir,
        whole,
        states,
        name="",
        question="",
        reference="",
        pairs=(),
        tests=("crossed", "welch"),
        metrics=HEADLINE,
        margin=margin,
        family="these runs",
        artefacts=(),
        published=None,
    )
    arms = study.arms
    # The plainest question that any runs answer: is one better than what everybody can afford?
    reference = next((arm for arm in REFERENCES if arm in arms), "")
    pairs = tuple((arm, reference) for arm in arms if reference and arm != reference)
    return replace(study, reference=reference, pairs=pairs)


def _study(
    runs: Sequence[Mapping[str, Any]],
    runs_dir: Path,
    whole: Mapping[str, Facts],
    states: Mapping[str, State],
    **said: Any,
) -> StudyResults:
    ids = [str(run["run_id"]) for run in runs]
    configs = {run_id: flat_config(runs_dir / run_id) for run_id in ids if run_id in whole}
    done = [_facts(whole[run["run_id"]], run) for run in runs if run["run_id"] in whole]
    settings = {run_id: settings_of(config) for run_id, config in configs.items()}
    judged, incomplete = put_together(
        [facts for facts in done if is_classified(facts)], settings, runs_dir
    )
    plain = StudyResults(
        **said,
        runs_dir=runs_dir,
        records=tuple(told_apart(judged, configs)),
        pretraining=tuple(facts for facts in done if not is_classified(facts)),
        unfinished=tuple(
            _unfinished(runs_dir / run_id, str(run["arm"]), states.get(run_id, State.MISSING))
            for run_id, run in zip(ids, runs, strict=True)
            if run_id not in whole
        ),
        configs=configs,
        incomplete=tuple(incomplete),
    )
    return replace(plain, pairs=tuple(_pairs(plain)))


def _facts(facts: Facts, run: Mapping[str, Any]) -> Facts:
    """Call a run's arm as its study does, and say which of the arm's seeds it has."""
    said = {**facts, "arm": str(run["arm"])}
    if "nth" in run:
        said["order"] = {key: run[key] for key in ("arm", "at", "nth", "seeds")}
    if run.get("choices"):
        # Before runs of different choices are given names of their own.
        said |= {"choices": run["choices"], "arm_asked": said["arm"]}
        said |= {"dataset_asked": said["dataset"]}
    return said


def is_classified(facts: Facts) -> bool:
    """Say whether a run named classes of cells; pretraining runs do not."""
    return "accuracy" in facts["metrics"].get("test", {})


def _unfinished(folder: Path, arm: str, state: State) -> Unfinished:
    if state is State.DAMAGED:
        return Unfinished(run_id=folder.name, arm=arm, state=state, error=damage.problem(folder))
    failed = folder / record.FAILED
    lines = failed.read_text(errors="replace").strip().splitlines() if failed.exists() else []
    return Unfinished(run_id=folder.name, arm=arm, state=state, error=lines[-1] if lines else "")


def flat_config(folder: Path) -> dict[str, Any]:
    """Read a run's settings as key.key → value."""
    if not (folder / record.CONFIG).exists():
        return {}
    return dict(_flat(results.read_settings(folder), ""))


def _flat(config: Mapping[str, Any], prefix: str) -> Iterable[tuple[str, Any]]:
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def told_apart(records: Sequence[Facts], configs: Mapping[str, Mapping[str, Any]]) -> list[Facts]:
    """Give runs that must not pass for replicates names of their own.

    Files that share a name, and protocols that an arm has several of, become part of the data
    set's name; settings that differ between runs of one seed become part of the arm's.
    """
    files: dict[str, set[str]] = {}
    protocols: dict[str, set[str]] = {}
    for facts in records:
        files.setdefault(facts["dataset"], set()).add(facts["data"]["fingerprint"])
        protocols.setdefault(facts["arm"], set()).add(facts["protocol"]["name"])
    found = []
    for facts in records:
        dataset = str(facts["dataset"])
        if len(files[facts["dataset"]]) > 1:
            dataset += f" ({facts['data']['fingerprint'][:6]})"
        if len(protocols[facts["arm"]]) > 1:
            dataset += f", {facts['protocol']['name']}"
        found.append({**facts, "dataset": dataset})
    by_arm: dict[tuple[Any, ...], list[Facts]] = {}
    for facts in found:
        key = tuple(facts[name] for name in ("dataset", "fraction", "model", "arm"))
        by_arm.setdefault(key, []).append(facts)
    return [facts for runs in by_arm.values() for facts in _by_settings(runs, configs)]


def _by_settings(runs: list[Facts], configs: Mapping[str, Mapping[str, Any]]) -> list[Facts]:
    seeds = [facts["seed"] for facts in runs]
    if len(set(seeds)) == len(seeds):
        return runs
    settings = [settings_of(configs.get(facts["run_id"], {})) for facts in runs]
    keys = [key for key in sorted({key for each in settings for key in each})
            if len({repr(each.get(key)) for each in settings}) > 1]  # fmt: skip
    named = [
        {**facts, "arm": " ".join([facts["arm"], *(f"{key}={each.get(key)}" for key in keys)])}
        for facts, each in zip(runs, settings, strict=True)
    ]
    seen: set[tuple[str, Any]] = set()
    for facts in named:
        # Equal settings, and yet two runs: made by different versions of the code.
        if (facts["arm"], facts["seed"]) in seen:
            facts["arm"] += f" ({facts['run_id'][-6:]})"
        seen.add((facts["arm"], facts["seed"]))
    return named


def settings_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """Keep the settings that may tell arms apart."""
    return {key: value for key, value in config.items() if not ASIDE.fullmatch(key)}


def _pairs(study: StudyResults) -> Iterable[tuple[str, str]]:
    """Give the pairs of arms as they are called once their settings stand in their names."""
    arms = study.arms
    for a, b in study.pairs:
        for arm in arms:
            if arm != a and not arm.startswith(f"{a} "):
                continue
            other = b + arm.removeprefix(a)
            yield arm, other if other in arms else b
        if a not in arms and not any(arm.startswith(f"{a} ") for arm in arms):
            yield a, b
