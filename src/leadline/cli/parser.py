"""Every command with its options, declared without importing what computes."""

from __future__ import annotations

import argparse
import datetime
from pathlib import Path

from leadline import __version__

RUN_HELP = """\
settings are Hydra overrides; the most used are
  model=logreg|scbert|scgpt|mlp|knn_pca|nearest_centroid|majority|stratified|embedding
  data=pbmc68k_reduced|h5ad|store|zheng_like|ms_like|zheng68k|ms|pancreas|myeloid
  data.path=FILE data.label=COLUMN [data.batch=COLUMN data.split=COLUMN data.layer=NAME]
  data.fraction=0.1     share of the training cells whose labels may be used
  task=pretrain model=scbert|scgpt|gene2vec, then model=scbert model.pretrained=RUN
  task=zero_shot model=pca|hvg|random_projection|noise|scgpt|scbert|embedding
  task=perturbation model=pca|gene2vec|gene_vectors|noise|scgpt|scbert
  protocol=corrected|paper_code|paper_prose|scbert_original
  seed=1  runs_dir=runs  train.threads=0  tracker=none|csv|tensorboard|wandb
docs/protocols.md describes every switch, conf/ holds every default.

The last line of stdout is the path of the record. A run that is done is not repeated.

example: leadline run model=logreg data=pbmc68k_reduced seed=1
"""
DOCTOR_HELP = """\
Without names: this installation and this machine. With the name of a dataset of the paper: which
files it needs, where users get them, and whether those that are there are the right ones. With a
file: what leadline finds in it. With a folder of runs: which finished records are damaged, and why;
they are left out of every result. Exit code 0 if everything named can be used, else 1.

example: leadline doctor zheng68k
"""
STORE_HELP = """\
build: one pass turns .h5ad files, read in blocks, into tokens on disk, of the genes that all files
have or of --genes; interrupted, the same command goes on. The last line is the path of the store.
check: compares every file with its digest. show: says what a store holds. floors: how many of
scBERT's hidden bins three rules name without a network. docs/pretraining.md tells more.
--layer --scale --gene-column --library-column are as data.layer= and so on, --total and --bins as
model.total= and model.bins=; --shard-cells is the size of a shard.

example: leadline store build part1.h5ad part2.h5ad --out corpus
"""
REPORT_HELP = """\
Without names: every study that was run into --runs, and the runs of no study. Written into --out:
index.html (opens from disk, needs no network), report.md for pull requests, tables/ as CSV,
Markdown and LaTeX, figures/ as PDF and SVG. docs/report.md tells how to read them.
The last line of stdout is the path of the page.

example: leadline report --runs runs --out report
"""
REPRODUCE_HELP = """\
Verdicts: holds; fails; fragile (holds under the paper's own criterion, fails under at least one
better test, which is named); not_run (no numbers to decide it). --source published recomputes
everything from the numbers that the paper and its notebooks print; --source runs judges the same
claims by your own records. docs/claims.md tells how verdicts come about.

example: leadline reproduce --source published
"""
CLAIMS_HELP = """\
draft   reads a paper (JATS XML, HTML, text, PDF) and writes claims.yaml: each sentence that
        compares and has a number or names a table, quoted with its address
check   compares every quote with the paper; exit code 1 if one no longer stands
review  writes a page: each quote in its context beside the lines of claims.yaml to change
bind    checks marked numbers of your own manuscript against records; exit code 1 if one is stale
Nothing is judged until a person sets status: approved. docs/claims.md tells the rest.

example: leadline claims draft paper.xml -o claims.yaml
"""
PREDICT_HELP = """\
The table has a row for each cell: its label, the probability of that label, whether it looks
unlike the training cells, and the probability of each class. Genes are matched by name; those
that the new file lacks count as zero. DATA are settings of the new file: data.layer,
data.scale, data.gene_column, data.library_column. docs/predict.md tells the rest.

example: leadline predict --run RUN --cells new.h5ad --out labels.csv
"""
CONTAMINATION_HELP = """\
DATA is a file or the name of a dataset, KEY=VALUE its settings (data.layer, data.scale, ...). Its
cells (those that --run reported, or that data.split calls test, or all) are compared by counts, by
most expressed genes, by CELLxGENE's ids and by date. docs/contamination.md tells the rest.

example: leadline contamination pbmc68k_reduced --corpus registry --model scgpt
"""
WORKER_HELP = """\
new    writes a worker to fill in: one file that answers questions about cells for your model
check  asks it about 20 cells: shuffled, halved, alone, with genes missing, with no gene expressed,
       with another seed, with random weights; a line each. Exit code 1 if something is wrong.
docs/external.md is a method author's ten minutes.

example: leadline worker new mine
"""
INVARIANCE_HELP = """\
Fits the model as leadline run would, and asks it about some cells of the training set again: twice,
in another order, among other cells, among fewer. Prints for each the share of cells whose label
changes and the largest change of a probability. Exit code 1 if anything changes.

example: leadline invariance logreg data=pbmc68k_reduced
"""
ABLATE_HELP = """\
NAME is one of ablations/, or the path of a file like them. What is done is not made again, failures
stop nobody else, and the same command goes on after any interruption. Words change every run, as in
leadline run; where the study varies a setting they choose its values (seed=1,2). The sweep itself:
  hydra/launcher=basic|local|ray|submitit_slurm  hydra.launcher.n_jobs=2
  retries=1     how often a run is tried again whose worker died or ran out of memory
--until decided stops the arms of comparisons that are decided, at the looks: of the study; --until
precise where more seeds would narrow intervals little, and tests once (docs/studies.md).
Exit code 0 if every run is done, 1 if one failed, is damaged, cannot be made or was never run, 75
after SIGTERM.

example: leadline ablate quickstart hydra/launcher=local hydra.launcher.n_jobs=2
"""
PLAN_HELP = """\
Takes the words of leadline ablate and runs nothing, so that they answer "what if". Times come from
records in runs_dir, of this or another study; --probe measures ten steps of each kind of run that
was never made. Times are those of the machine that was measured. The last lines say the least
difference that each comparison can find, however it will come out.

example: leadline plan quickstart seed=1,2 hydra/launcher=local hydra.launcher.n_jobs=2
"""
PROTOCOLS_HELP = """\
Without names: every switch with its values and its tag (E equivalent, N one value is better, U
unknown). With one preset: its values. With two: where they differ, and why anybody might choose
either. docs/multiverse.md tells how a study varies switches.

example: leadline protocols paper_code corrected
"""
LIST_HELP = "example: leadline list models"
SHOW_HELP = """\
RUN is a record's folder, its id, or the beginning of its id.

example: leadline show logreg-pbmc68k_reduced-f1-s1
"""
COMPARE_HELP = """\
The difference of the first and each of the others in accuracy and macro-F1, with a 95 % interval
and p over fresh runs and fresh cells, what that speaks for, and where its variance comes from. NAME
is an arm, with all its runs in --runs, or one run: its folder, its id, or the beginning of its id.
Of two runs also the settings that differ, McNemar’s test, and the calls that differ most often.

example: leadline compare logreg-pbmc68k_reduced-f1-s1 knn_pca-pbmc68k_reduced-f1-s1
example: leadline compare scbert logreg mlp
"""
SYNC_HELP = """\
Runs go to the project that they were made for with tracker=wandb; others to the project leadline.
With --study only that study's runs are uploaded, and one run more with its tables and figures.
Needs a key: run `wandb login` once, or set WANDB_API_KEY. docs/wandb.md tells the rest.

example: leadline sync --runs runs --dry-run
"""
IMPORT_WANDB_HELP = """\
SOURCE is a project (entity/project) or a folder with wandb's offline runs. --metric says which key
of wandb's summary holds which metric: NAME=KEY, or NAME=KEY% for percent; NAME is accuracy,
macro_f1, … of the test cells, or PART/NAME. --field says where study, arm, dataset, model,
fraction and seed stand: group, job_type, name, id, config.KEY, or =VALUE for all runs alike.
Runs that did not finish are left out. Records made so have no predictions.

example: leadline import-wandb wandb --metric accuracy=test_acc --field dataset==zheng68k
"""
IMPORT_LEDGER_HELP = """\
One row is one run: the columns arm and seed, metrics by their names (accuracy, macro_f1, ...), and
factors. Also dataset, model, fraction. What wandb exports as CSV is known by its columns; there the
arm is the job type. Factors with one value in each arm are what arms differ in: an arm that differs
from the reference in more than one is flagged. Factors that vary within arms are choices, and the
report draws the curve of all their combinations. docs/multiverse.md tells how to read it.

example: leadline import-ledger runs.csv --metric accuracy=test_acc --tag loss=E
"""
COMPLETION_HELP = """\
bash:  leadline completion bash > ~/.local/share/bash-completion/completions/leadline
zsh:   leadline completion zsh > a folder of $fpath, as _leadline
fish:  leadline completion fish > ~/.config/fish/completions/leadline.fish

example: leadline completion bash
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

    for name, (summary, epilog, declare) in COMMANDS.items():
        declare(add(name, summary, epilog))
    # For the command that describes them all.
    top.set_defaults(top=top)
    return top


def add_run(parser: argparse.ArgumentParser) -> None:
    """Declare `leadline run`."""
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="settings of the run")
    several = "one run for each combination of values, as in seed=1,2,3; see leadline ablate"
    parser.add_argument("-m", "--multirun", action="store_true", help=several)


def add_doctor(parser: argparse.ArgumentParser) -> None:
    """Declare `leadline doctor`."""
    what = "datasets, files, or a folder of runs to check"
    parser.add_argument("names", nargs="*", metavar="NAME|FILE|RUNS", help=what)
    moved = "move the damaged records of RUNS into RUNS/quarantine"
    parser.add_argument("--quarantine", action="store_true", help=moved)


def add_report(parser: argparse.ArgumentParser) -> None:
    """Declare `leadline report`."""
    parser.add_argument("names", nargs="*", metavar="NAME", help="studies to report on")
    parser.add_argument("--runs", type=Path, default=Path("runs"), metavar="DIR")
    parser.add_argument("--out", type=Path, default=Path("report"), metavar="DIR")
    paper = "set the paper's runs beside those of the same data set and arm"
    parser.add_argument("--published", action="store_true", help=paper)


def add_reproduce(parser: argparse.ArgumentParser) -> None:
    """Declare `leadline reproduce`."""
    add = parser.add_argument
    papers = "a paper that leadline brings along (boiarsky, kedzierska, perturbation) or a folder"
    add("paper", nargs="?", default="boiarsky", metavar="PAPER", help=papers)
    add("--paper", dest="pack", metavar="NAME|FOLDER", help="the same, as four files without code")
    add("--source", default="published", metavar="published|runs", help="whose numbers are judged")
    add("--runs", type=Path, metavar="DIR", help="folder of records, for --source runs")
    add("--protocol", metavar="NAME", help="which records, where --runs holds several protocols")
    add("--multiverse", action="store_true", help="the published runs under every analysis")
    add("--json", action="store_true", help="print one JSON object instead of a table")
    add("--out", type=Path, metavar="DIR", help="also write tables, figures and index.html")


def add_claims(parser: argparse.ArgumentParser) -> None:
    """Declare `leadline claims` and its parts."""
    parts = parser.add_subparsers(dest="part", metavar="PART", required=True)

    def part(name: str, summary: str, example: str) -> argparse.ArgumentParser:
        return parts.add_parser(
            name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.", epilog=example
        )

    draft = part("draft", "write draft claims of a paper",
                 "example: leadline claims draft paper.xml -o claims.yaml")  # fmt: skip
    draft.add_argument("paper", type=Path, metavar="PAPER", help="JATS XML, HTML, text or PDF")
    draft.add_argument("-o", "--out", type=Path, default=Path("claims.yaml"), metavar="FILE")
    draft.add_argument("--study", metavar="NAME|FILE", help="a study whose arms the paper may name")
    draft.add_argument("--words", type=Path, metavar="FILE", help="more words, as vocabulary.yaml")
    check = part("check", "compare every quote with the paper",
                 "example: leadline claims check claims.yaml")  # fmt: skip
    review = part("review", "write the page that a person approves by",
                  "example: leadline claims review claims.yaml")  # fmt: skip
    for each in (check, review):
        each.add_argument("claims", type=Path, nargs="?", default=Path("claims.yaml"))
        each.add_argument("--paper", type=Path, metavar="PAPER", help="where the paper is now")
    review.add_argument("--out", type=Path, metavar="FILE", help="the page (claims.html)")
    bind = part("bind", "check the marked numbers of a manuscript against records",
                "example: leadline claims bind paper.tex --runs runs")  # fmt: skip
    bind.add_argument("manuscript", type=Path, metavar="PAPER", help="LaTeX or Markdown")
    bind.add_argument("--runs", type=Path, default=Path("runs"), metavar="DIR")


def positive(text: str) -> int:
    """Read a whole number from 1 on."""
    value = int(text)
    if value < 1:
        raise ValueError
    return value


def add_worker(parser: argparse.ArgumentParser) -> None:
    """Declare `leadline worker` and its parts."""
    parts = parser.add_subparsers(dest="part", metavar="PART", required=True)
    summary = "write a worker to fill in"
    new = parts.add_parser(
        "new", help=summary, description=f"{summary.capitalize()}.",
        epilog="example: leadline worker new mine",
    )  # fmt: skip
    new.add_argument("name", metavar="NAME", help="of the model; the file is NAME.py")
    summary = "ask a worker about 20 cells and say what is wrong"
    check = parts.add_parser(
        "check", help=summary, description=f"{summary.capitalize()}.",
        epilog="example: leadline worker check mine.py --python env/bin/python",
    )  # fmt: skip
    check.add_argument("worker", metavar="FILE")
    check.add_argument("--python", metavar="FILE", help="the interpreter of its environment")
    check.add_argument("--seconds", type=float, default=600.0, help="for each question (600)")


def add_invariance(parser: argparse.ArgumentParser) -> None:
    """Declare `leadline invariance`."""
    parser.add_argument("model", metavar="MODEL", help="as in model=MODEL of leadline run")
    parser.add_argument("overrides", nargs="*", metavar="SETTING=VALUE")


def share(text: str) -> float:
    """Read a number between 0 and 1."""
    value = float(text)
    if not 0 <= value <= 1:
        raise ValueError
    return value


def add_predict(parser: argparse.ArgumentParser) -> None:
    """Declare `leadline predict`."""
    add = parser.add_argument
    add("data", nargs="*", metavar="DATA", help="how to read the new file, as data.KEY=VALUE")
    add("--run", required=True, metavar="RUN", help="a record: its folder or its id")
    add("--cells", required=True, type=Path, metavar="FILE", help="an .h5ad, 10x .h5 or 10x folder")
    add("--out", required=True, type=Path, metavar="FILE", help="the table to write, CSV")
    add("--runs", type=Path, default=Path("runs"), metavar="DIR", help="where RUN is an id of")
    add("--threshold", type=share, default=0.5, metavar="P", help="below it: unassigned (0.5)")
    add("--min-genes", type=share, default=0.5, metavar="SHARE", help="of the run's genes (0.5)")
    add("--positions", type=Path, metavar="NPZ", help="of the new cells, for model=embedding")
    add("--training", type=Path, metavar="FILE", help="the run's own cells, if they moved")


def day(text: str) -> datetime.date:
    """Read a day as YYYY-MM-DD."""
    return datetime.date.fromisoformat(text)


def add_contamination(parser: argparse.ArgumentParser) -> None:
    """Declare `leadline contamination`."""
    parser.usage = "leadline contamination DATA [KEY=VALUE ...] --corpus CORPUS [OPTION ...]"
    add = parser.add_argument
    add("data", metavar="DATA")
    add("overrides", nargs="*", metavar="KEY=VALUE")
    corpus = "files, folders of .h5ad files, or: registry"
    add("--corpus", action="append", required=True, metavar="CORPUS", help=corpus)
    add("--model", metavar="NAME", help="the model of the registry whose corpus it is")
    add("--run", metavar="RUN", help="a record: only the cells that it reported")
    add("--runs", type=Path, default=Path("runs"), metavar="DIR", help="where RUN is an id of")
    add("--public", type=day, metavar="DAY", help="since when the cells are public (2024-03-01)")
    add("--closed", type=day, metavar="DAY", help="when the corpus was closed")
    add("--dataset-id", metavar="ID", help="the cells' data set in CELLxGENE, if no column tells")
    add("--corpus-layer", metavar="NAME", help="the corpus' matrix (the first that holds counts)")
    add("--corpus-genes", metavar="COL", help="the column of var with the corpus' genes")
    add("--out", type=Path, metavar="FILE", help="also write what was found of each cell, CSV")
    add("--json", action="store_true", help="print one JSON object")


def add_ablate(parser: argparse.ArgumentParser) -> None:
    """Declare `leadline ablate`."""
    parser.add_argument("name", metavar="NAME|FILE")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    parser.add_argument("--watch", action="store_true", help="show a live table while it runs")
    until = "add seeds look by look, only to the arms of comparisons that are still open"
    parser.add_argument("--until", choices=("decided", "precise"), help=until)
    few = "start nothing further once N runs have failed"
    parser.add_argument("--fail-fast", type=positive, metavar="N", help=few)


def add_store(parser: argparse.ArgumentParser) -> None:
    """Declare `leadline store`."""
    parser.usage = "leadline store build|check|show|floors PATH ... [--out DIR] [OPTION ...]"
    parser.add_argument("action", choices=("build", "check", "show", "floors"))
    paths = "the .h5ad files to build from, or stores"
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help=paths)
    parser.add_argument("--out", type=Path, metavar="DIR", help="where the store is to be")
    for option in ("label", "batch", "split"):
        help_ = f"the column of obs that data.{option}= may name"
        parser.add_argument(f"--{option}", metavar="COLUMN", help=help_)
    parser.add_argument("--genes", type=Path, metavar="FILE", help="genes of the store, one a line")
    models, totals = ("scbert", "scgpt"), ("measured", "reference")
    parser.add_argument("--model", choices=models, default="scbert", help="whose tokens")
    # The end of the help names these, as there is no room for a line of each.
    for option in ("--layer", "--scale", "--gene-column", "--library-column"):
        parser.add_argument(option, help=argparse.SUPPRESS)
    parser.add_argument("--total", choices=totals, default="measured", help=argparse.SUPPRESS)
    parser.add_argument("--bins", type=int, default=51, help=argparse.SUPPRESS)
    parser.add_argument("--shard-cells", type=int, help=argparse.SUPPRESS)


def add_plan(parser: argparse.ArgumentParser) -> None:
    """Declare `leadline plan`."""
    parser.add_argument("name", metavar="NAME|FILE")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print everything as JSON")
    parser.add_argument("--probe", action="store_true", help="measure what no record tells")
    price = "what an hour of one device costs, in any currency"
    parser.add_argument("--price", type=float, default=0.0, metavar="P", help=price)
    watch = "show a live table of what is done, running and failed"
    form.add_argument("--watch", action="store_true", help=watch)


def add_list(parser: argparse.ArgumentParser) -> None:
    """Declare `leadline list`."""
    topics = ("models", "datasets", "studies", "runs")
    parser.add_argument("topic", nargs="?", choices=topics, help="one of them; without it, all")
    parser.add_argument("--runs", type=Path, default=Path("runs"), metavar="DIR")


def add_protocols(parser: argparse.ArgumentParser) -> None:
    """Declare `leadline protocols`."""
    presets = "paper_code, paper_prose, scbert_original or corrected"
    parser.add_argument("presets", nargs="*", metavar="PRESET", help=presets)


def add_show(parser: argparse.ArgumentParser) -> None:
    """Declare `leadline show`."""
    parser.add_argument("run", metavar="RUN")
    parser.add_argument("--runs", type=Path, default=Path("runs"), metavar="DIR")


def add_compare(parser: argparse.ArgumentParser) -> None:
    """Declare `leadline compare`."""
    parser.add_argument("names", nargs="+", metavar="NAME")
    parser.add_argument("--runs", type=Path, default=Path("runs"), metavar="DIR")


def add_sync(parser: argparse.ArgumentParser) -> None:
    """Declare `leadline sync`."""
    parser.add_argument("--runs", type=Path, default=Path("runs"), metavar="DIR")
    parser.add_argument("--study", metavar="NAME", help="this study's runs, tables and figures")
    parser.add_argument("--project", metavar="NAME", help="the wandb project")
    parser.add_argument("--entity", metavar="NAME", help="the wandb team or user")
    offline = "write wandb's offline folders beside the records, and upload nothing"
    parser.add_argument("--offline", action="store_true", help=offline)
    parser.add_argument("--dry-run", action="store_true", help="only say what would be uploaded")


def add_import_wandb(parser: argparse.ArgumentParser) -> None:
    """Declare `leadline import-wandb`."""
    parser.add_argument("source", metavar="SOURCE")
    parser.add_argument("--runs", type=Path, default=Path("runs"), metavar="DIR")
    parser.add_argument("--metric", action="append", required=True, metavar="NAME=KEY")
    parser.add_argument("--field", action="append", default=[], metavar="NAME=WHERE")
    epoch = "the key of the history that counts epochs (wandb's step unless told)"
    parser.add_argument("--epoch", default="_step", metavar="KEY", help=epoch)
    again = "replace what was imported with other options"
    parser.add_argument("--replace", action="store_true", help=again)


def add_import_ledger(parser: argparse.ArgumentParser) -> None:
    """Declare `leadline import-ledger`."""
    add = parser.add_argument
    add("file", type=Path, metavar="FILE.csv")
    add("--runs", type=Path, default=Path("runs"), metavar="DIR")
    add("--name", default="", help="of the study (that of the file)")
    add("--reference", default="", metavar="ARM", help="what arms are compared with (reference)")
    add("--metric", action="append", default=[], metavar="NAME=COLUMN")
    add("--field", action="append", default=[], metavar="NAME=COLUMN")
    add("--tag", action="append", default=[], metavar="CHOICE=E|N|U")
    add("--ignore", action="append", default=[], metavar="COLUMN", help="neither factor nor choice")


def add_completion(parser: argparse.ArgumentParser) -> None:
    """Declare `leadline completion`."""
    parser.add_argument("shell", choices=("bash", "zsh", "fish"))


# What each command does in a line, the end of its help, and its options.
COMMANDS = {
    "run": ("compute one run and write its record", RUN_HELP, add_run),
    "doctor": ("say what is there, what is wrong, what to do", DOCTOR_HELP, add_doctor),
    "store": ("turn cells into tokens on disk, and check them", STORE_HELP, add_store),
    "report": ("write a page about finished runs", REPORT_HELP, add_report),
    "reproduce": ("judge every claim of the paper", REPRODUCE_HELP, add_reproduce),
    "claims": ("draft the claims of a paper, check and review them", CLAIMS_HELP, add_claims),
    "predict": ("name the types of new cells with a finished run", PREDICT_HELP, add_predict),
    "contamination": (
        "say whether a pretrained model has seen the reported cells",
        CONTAMINATION_HELP,
        add_contamination,
    ),
    "worker": ("write or check a program that asks a model", WORKER_HELP, add_worker),
    "invariance": (
        "say whether cells change each other's answers",
        INVARIANCE_HELP,
        add_invariance,
    ),
    "ablate": ("make what is missing of a study", ABLATE_HELP, add_ablate),
    "plan": (
        "list a study’s runs, what is done, what the rest will take",
        PLAN_HELP,
        add_plan,
    ),
    "list": ("name the models, datasets, studies and runs that there are", LIST_HELP, add_list),
    "protocols": (
        "list the switches of the protocol, or how two presets differ",
        PROTOCOLS_HELP,
        add_protocols,
    ),
    "show": (
        "tell what a run is, what came of it, why it failed",
        SHOW_HELP,
        add_show,
    ),
    "compare": (
        "say how runs or arms differ over fresh runs and cells",
        COMPARE_HELP,
        add_compare,
    ),
    "sync": ("upload finished runs to wandb, each once", SYNC_HELP, add_sync),
    "import-wandb": (
        "make records of runs that wandb knows, for their statistics",
        IMPORT_WANDB_HELP,
        add_import_wandb,
    ),
    "import-ledger": (
        "make records of a table of runs made elsewhere",
        IMPORT_LEDGER_HELP,
        add_import_ledger,
    ),
    "completion": (
        "print what lets a shell complete commands and names",
        COMPLETION_HELP,
        add_completion,
    ),
}
