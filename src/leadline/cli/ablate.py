"""`leadline ablate`: one study, made and reported; the same words go on after any interruption."""

from __future__ import annotations

import argparse
import shlex
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from leadline.cli.live_table import live
from leadline.cli.sweep_summary import print_summary
from leadline.config import LauncherConfig, compose
from leadline.errors import FAILED, GOOD, REQUEUE, UserError, nearest
from leadline.processes import signal_handlers
from leadline.progress import say
from leadline.studies import Plan, Run, Study, expand, manifest, name_runs, read, varied
from leadline.studies.check_data import require_suited
from leadline.studies.folds import told
from leadline.studies.launchers import build, choose
from leadline.studies.overrides import to_overrides
from leadline.studies.stages import StopRule, stop_rule
from leadline.studies.sweep import RunEnd, RunOutcome, sweep

DEFAULT_RETRIES = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepOptions:
    """What the words of a command line ask for, beside the study's name."""

    launcher: LauncherConfig
    retries: int
    overrides: tuple[str, ...]


class StopSignal:
    """Whether, and by which signal, a sweep was asked to stop."""

    def __init__(self) -> None:
        self.event = threading.Event()
        self.signal: int | None = None

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        """Note the first signal; a second Ctrl-C stops at once."""
        if self.signal is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = number
        self.event.set()


GOOD_ENDS = (RunOutcome.HAD, RunOutcome.DONE, RunOutcome.NOT_APPLICABLE)


def ablate(
    name: str,
    words: Sequence[str],
    *,
    watched: bool = False,
    until: str | None = None,
    most_failures: int | None = None,
) -> int:
    """Make what is missing of a study, whatever the launcher; give the exit code.

    `until` adds seeds look by look, where it is not yet decided or precise; else all are made.
    After `most_failures` nothing further is started.
    """
    asked = parse_words(words)
    plan, runs = planned(name, asked.overrides)
    if folds := told(run.config for run in runs):
        say(folds)
    rule = None if until is None else stop_rule(plan, until)
    if rule is None:
        manifest.write(plan, runs, Path(runs[0].config.runs_dir))
    flags = [] if until is None else ["--until", until]
    flags += [] if most_failures is None else ["--fail-fast", str(most_failures)]
    again = shlex.join(["leadline", "ablate", name, *words, *flags])
    options = {"watched": watched, "rule": rule, "most_failures": most_failures}
    return make(plan, runs, asked, again, **options)  # type: ignore[arg-type]


def multirun(words: Sequence[str]) -> int:
    """Let Hydra hand the words of `leadline run --multirun` to leadline's own plugin."""
    _, others = choose(words)
    settings = [word for word in others if word.partition("=")[0] != "retries"]
    # Hydra's own words for a mistake fill a screen: find it before.
    compose.compose_many([to_overrides(wish.settings) for wish in varied(settings).runs])
    return compose.multirun(settings, [word for word in words if word not in settings])


def vary(words: Sequence[str]) -> int:
    """Make every run of the product of values that words give; Hydra's multirun."""
    asked = parse_words(words)
    plan = varied(asked.overrides)
    again = shlex.join(["leadline", "run", "--multirun", *words])
    return make(plan, name_runs(plan), asked, again)


def make(
    plan: Plan,
    runs: Sequence[Run],
    asked: SweepOptions,
    again: str,
    *,
    watched: bool = False,
    rule: StopRule | None = None,
    seconds: float | None = None,
    paged: bool = True,
    most_failures: int | None = None,
) -> int:
    """Sweep over named runs and tell how it ended; give the exit code.

    After so many `seconds` no further run is started. `paged` writes the page if the study asks.
    """
    # Lines would tear the table.
    tell = (lambda text: None) if watched and sys.stderr.isatty() else say
    with signals_as_stop() as stop, stopped_after(seconds, stop.event):

        def swept(part: Sequence[Run]) -> list[RunEnd]:
            with live(plan, part) if watched else nullcontext():
                return sweep(
                    part,
                    build(asked.launcher),
                    stop=stop.event,
                    retries=asked.retries,
                    tell=tell,
                    most_failures=most_failures,
                )

        lines: list[str] = []
        if rule is None:
            ends = swept(runs)
        else:
            # Judging needs scipy and the report, which other sweeps need not wait for.
            from leadline.cli.until import Stages

            stages = Stages(plan=plan, runs=runs, rule=rule, tell=tell)
            ends = stages.make(swept, stop.event)
            lines = stages.told()
        all_done = all(end.fate in GOOD_ENDS for end in ends)
        print_summary(plan, ends, stopped=stop.event.is_set(), again=again)
        if rule is not None and stop.event.is_set() and all_done:
            lines, all_done = [f"stopped between looks. Go on with:\n  {again}"], False
        for line in lines:
            print(line)
        if paged and plan.study.report and not stop.event.is_set():
            show_page(plan, Path(runs[0].config.runs_dir))
    if stop.signal == signal.SIGTERM:
        return REQUEUE
    return GOOD if all_done else FAILED


@contextmanager
def stopped_after(seconds: float | None, stop: threading.Event) -> Iterator[None]:
    """Ask for a stop once so many seconds have passed."""
    if seconds is None:
        yield
        return
    timer = threading.Timer(seconds, stop.set)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def show_page(plan: Plan, runs_dir: Path) -> None:
    """Write the study's report beside its runs; print its answer and where the page lies."""
    from leadline.cli.report import print_answer
    from leadline.papers.boiarsky.reference import PublishedReference
    from leadline.report.write import write_report

    try:
        page = write_report(
            runs_dir, runs_dir.parent / "report", [plan.study.name], reference=PublishedReference()
        )
    except UserError as error:
        say(f"no report: {error}")
        return
    print_answer(page)


def planned(name: str, overrides: Sequence[str]) -> tuple[Plan, list[Run]]:
    """Read a study, and name its runs under the words of the command line."""
    study = read(name)
    require_published(study)
    plan = expand(study, overrides)
    require_suited(plan)
    return plan, name_runs(plan)


def require_published(study: Study) -> None:
    """Refuse what the paper calls nothing: its numbers would be missing in silence."""
    from leadline.papers.boiarsky import artefacts

    known = artefacts()
    if study.published is not None and study.published not in known:
        raise UserError(
            "published must name a table or figure whose numbers leadline has",
            got=repr(study.published),
            remedy=nearest(study.published, known, limit=len(known)),
        )


def parse_words(words: Sequence[str]) -> SweepOptions:
    """Separate the words about the sweep (retries, launcher, …) from the runs' overrides."""
    launcher, others = choose(words)
    said = [word for word in others if word.partition("=")[0] == "retries"]
    overrides = tuple(word for word in others if word not in said)
    if len(said) > 1:
        raise UserError(
            "each setting may be given once", got=" and ".join(said), remedy="leave one out"
        )
    value = said[0].partition("=")[2] if said else str(DEFAULT_RETRIES)
    if not (value.isascii() and value.isdigit()):
        raise UserError(
            "retries must be a whole number from 0 on", got=repr(said[0]), remedy="try retries=2"
        )
    return SweepOptions(launcher=launcher, retries=int(value), overrides=overrides)


@contextmanager
def signals_as_stop() -> Iterator[StopSignal]:
    """On Ctrl-C or SIGTERM start no further run, inside this block."""
    stop = StopSignal()
    with signal_handlers(signal.SIGINT, signal.SIGTERM, handler=stop.on_signal):
        yield stop


def call(chosen: argparse.Namespace) -> int:
    """Make the runs."""
    return ablate(
        chosen.name,
        chosen.overrides,
        watched=chosen.watch,
        until=chosen.until,
        most_failures=chosen.fail_fast,
    )
