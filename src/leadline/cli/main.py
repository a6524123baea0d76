"""The command line. Each command imports what it needs when it is called: `--help` is instant."""

from __future__ import annotations

import argparse
import errno
import sys
from collections.abc import Sequence
from pathlib import Path

from leadline import __version__
from leadline.cli.parser__commands import ROOMS
from leadline.errors import UserError

GOOD, FAILED, MISTAKE = 0, 1, 2
# A place that is not the user's to write to, is no folder, or is full.
NO_PLACE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.ENOSPC, errno.EDQUOT)
# preempt.REQUEUE, written here so that --help imports nothing; a test compares the two.
REQUEUE = 75

RUN_HELP = """\
settings are Hydra overrides; the most used are
  model=logreg|scbert|scgpt|mlp|knn_pca|nearest_centroid|majority|stratified|embedding
  data=pbmc68k_reduced|h5ad|zheng_like|ms_like|zheng68k|ms|pancreas|myeloid
  data.path=FILE data.label=COLUMN [data.batch=COLUMN data.split=COLUMN data.layer=NAME]
  data.fraction=0.1     share of the training cells whose labels may be used
  task=pretrain model=scbert|scgpt|gene2vec, then model=scbert model.pretrained=RUN
  protocol=corrected|paper_code|paper_prose
  seed=1  runs_dir=runs  train.threads=0  tracker=none|csv|tensorboard|wandb
docs/protocols.md describes every switch, conf/ holds every default.

The last line of stdout is the path of the record. A run that is done is not repeated.

example: leadline run model=logreg data=pbmc68k_reduced seed=1
"""

DOCTOR_HELP = """\
Without names: this installation and this machine. With the name of a dataset of the paper: which
files it needs, where users get them, and whether those that are there are the right ones. With a
file: what leadline finds in it. Exit code 0 if everything named can be used, else 1.

example: leadline doctor zheng68k
"""

REPORT_HELP = """\
Without names: every study that was run into --runs, and the runs of no study. Written into --out:
index.html (opens from disk, needs no network), report.md for pull requests, tables/ as CSV,
Markdown and LaTeX, figures/ as PDF and SVG. docs/report.md tells how to read them.
The last line of stdout is the path of the page.

example: leadline report --runs runs --out report
"""


def parser() -> argparse.ArgumentParser:
    """Describe the commands."""
    top = argparse.ArgumentParser(
        prog="leadline",
        description="Measure how deep a single-cell foundation model really goes.",
        epilog="example: leadline run model=logreg data=pbmc68k_reduced seed=1",
    )
    top.add_argument("--version", action="version", version=f"leadline {__version__}")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def add(name: str, summary: str, epilog: str) -> argparse.ArgumentParser:
        return commands.add_parser(
            name,
            help=summary,
            description=summary[0].upper() + summary[1:] + ".",
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    run = add("run", "compute one run and write its record", RUN_HELP)
    run.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="settings of the run")
    several = "one run for each combination of values, as in seed=1,2,3; see leadline ablate"
    run.add_argument("-m", "--multirun", action="store_true", help=several)
    doctor = add("doctor", "say what is there, what is wrong, what to do", DOCTOR_HELP)
    doctor.add_argument("names", nargs="*", metavar="NAME|FILE", help="datasets or files to check")
    report = add("report", "write a page about finished runs", REPORT_HELP)
    report.add_argument("names", nargs="*", metavar="NAME", help="studies to report on")
    report.add_argument("--runs", type=Path, default=Path("runs"), metavar="DIR")
    report.add_argument("--out", type=Path, default=Path("report"), metavar="DIR")
    paper = "set the paper's runs beside those of the same data set and arm"
    report.add_argument("--published", action="store_true", help=paper)
    from leadline.papers import reproduce

    judge = add("reproduce", "judge every claim of the paper", reproduce.HELP)
    reproduce.add_arguments(judge)
    # For the command that describes them all.
    top.set_defaults(top=top)
    for name, room in ROOMS.items():
        room.add_arguments(add(name, room.SUMMARY, room.HELP))
    return top


def main(words: Sequence[str] | None = None) -> int:
    """Run one command; give the exit code."""
    chosen = parser().parse_args(words)
    try:
        return COMMANDS[chosen.command](chosen)
    except UserError as error:
        print(f"leadline: {error}", file=sys.stderr)
        return MISTAKE
    except OSError as error:
        if error.errno not in NO_PLACE:
            raise
        print(
            "leadline: files and folders must be there to be read and written: got "
            f"{error.filename!r} ({error.strerror}); choose another place, or change its rights",
            file=sys.stderr,
        )
        return MISTAKE
    except KeyboardInterrupt:
        print("leadline: interrupted; the same command goes on", file=sys.stderr)
        return FAILED


def run_command(chosen: argparse.Namespace) -> int:
    """Compute one run, or several."""
    if chosen.multirun:
        from leadline.cli.ablate import multirun

        return multirun(chosen.overrides)
    from leadline.config.compose import compose

    config = compose(chosen.overrides)
    from leadline.locks import Busy
    from leadline.processes import Preempted
    from leadline.runs.run import RunFailed, run

    try:
        folder = run(config)
    except Busy as error:
        print(f"leadline: {error}; wait for it or stop it", file=sys.stderr)
        return FAILED
    except RunFailed as error:
        print(f"leadline: {error}", file=sys.stderr)
        return FAILED
    except Preempted:
        print("leadline: stopped by SIGTERM; the same command goes on", file=sys.stderr)
        return REQUEUE
    print(folder)
    return GOOD


def doctor_command(chosen: argparse.Namespace) -> int:
    """Check the installation, datasets or files."""
    from leadline.cli.doctor import examine

    return GOOD if examine(chosen.names) else FAILED


def report_command(chosen: argparse.Namespace) -> int:
    """Write the page."""
    from leadline.papers.boiarsky.reference import PublishedReference
    from leadline.report import write_report

    reference = PublishedReference()
    print(
        write_report(
            chosen.runs, chosen.out, chosen.names, published=chosen.published, reference=reference
        )
    )
    return GOOD


def reproduce_command(chosen: argparse.Namespace) -> int:
    """Judge the paper's claims."""
    from leadline.papers.reproduce import reproduce

    return reproduce(chosen)


COMMANDS = {
    "run": run_command,
    "doctor": doctor_command,
    "report": report_command,
    "reproduce": reproduce_command,
    **{name: room.call for name, room in ROOMS.items()},
}


if __name__ == "__main__":
    sys.exit(main())
