"""The Python interface: what `import leadline` offers to notebooks and scripts."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import leadline.report

if TYPE_CHECKING:
    import pandas as pd

# Cells that came from memory lie in this folder of the runs.
CELLS = "cells"
# Settings that name a column of obs, beside labels and batches.
OTHER_COLUMNS = ("data.library_column", "data.split")
# White under black: the same in a light and in a dark notebook.
BOX = (
    "background:#fff;color:#111;padding:.8em 1em;border:1px solid #ccc;border-radius:6px;"
    "max-width:60em;font-family:sans-serif"
)


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """One finished run: a sealed record on disk."""

    folder: Path

    @property
    def facts(self) -> dict[str, Any]:
        """Give all that the record says."""
        from leadline.runs.records import read_whole

        return read_whole(self.folder)

    @property
    def metrics(self) -> dict[str, float]:
        """Give the scores on the cells that are reported on."""
        return dict(self.facts["metrics"]["test"])

    @property
    def warnings(self) -> list[str]:
        """Give what a careful reader must know."""
        return list(self.facts["warnings"])

    @property
    def predictions(self) -> pd.DataFrame:
        """Give truth, call and probabilities of each reported cell, by cell."""
        import pandas as pd

        from leadline.runs.record import read_predictions

        parts, classes = read_predictions(self.folder)
        reported = parts["test"]
        names = pd.Index([str(name) for name in classes])
        table = pd.DataFrame(
            reported.proba_CK.astype(float), index=list(map(str, reported.ids)), columns=names
        )
        table.insert(0, "truth", names[reported.truth_C])
        table.insert(1, "predicted", names[reported.predicted_C])
        return table.rename_axis("cell")

    def __repr__(self) -> str:
        facts = self.facts
        sizes = facts["split"]["cells"]
        scores = ", ".join(f"{name} {self.metrics[name]:.4f}" for name in _headline(self.metrics))
        lines = [
            f"{facts['model']} on {facts['dataset']}, seed {facts['seed']}",
            scores,
            f"{sizes['train']:,} cells to learn from, {sizes['test']:,} reported on",
            *(f"warning: {text}" for text in self.warnings[:2]),
            str(self.folder),
        ]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        first, *rest = (html.escape(line) for line in repr(self).splitlines())
        return f'<div style="{BOX}"><b>{first}</b><br>{"<br>".join(rest)}</div>'


@dataclass(frozen=True, slots=True)
class FinishedStudy:
    """A study with the page that was written of it: what the runs so far say."""

    name: str
    runs_dir: Path
    page: Path

    @property
    def question(self) -> str:
        """Give what was asked."""
        return self._said[0]

    @property
    def answer(self) -> str:
        """Give the answer, in at most 25 words where arms are compared."""
        return self._said[1]

    @property
    def basis(self) -> str:
        """Say for what the answer holds, and how sure it is."""
        return self._said[2]

    @property
    def verdicts(self) -> pd.DataFrame:
        """Give every comparison with its interval, p and verdict."""
        import pandas as pd

        tables = sorted((self.page.parent / "tables").glob("*_comparisons.csv"))
        return pd.concat([pd.read_csv(path) for path in tables]) if tables else pd.DataFrame()

    @property
    def runs(self) -> pd.DataFrame:
        """Give every score of every finished run, a row each."""
        return read_runs(self.runs_dir, study=self.name)

    @property
    def _said(self) -> tuple[str, str, str]:
        from leadline.report.write import headline

        return headline(self.page)

    def __repr__(self) -> str:
        lines = (self.question, self.answer, self.basis, f"page: {self.page}")
        return "\n".join(line for line in lines if line)

    def _repr_html_(self) -> str:
        text = "".join(
            f"<p{style}>{html.escape(line)}</p>"
            for line, style in (
                (self.question, ' style="color:#555;margin:.2em 0"'),
                (self.answer, ' style="font-size:1.2em;font-weight:bold;margin:.2em 0"'),
                (self.basis, ' style="margin:.2em 0"'),
                (f"The page: {self.page}", ' style="color:#555;font-size:.85em"'),
            )
            if line
        )
        return f'<div style="{BOX}">{text}{self._picture()}</div>'

    def _picture(self) -> str:
        """Give the figure of all comparisons, else the first one, as an image without a script."""
        drawn = sorted((self.page.parent / "figures").glob("*.svg"))
        chosen = next((path for path in drawn if path.stem.endswith("forest")), None)
        chosen = chosen or next(iter(drawn), None)
        if chosen is None:
            return ""
        data = base64.b64encode(chosen.read_bytes()).decode()
        return f'<img alt="{html.escape(self.answer)}" src="data:image/svg+xml;base64,{data}">'


def run(
    *,
    model: str = "logreg",
    data: Any = "pbmc68k_reduced",
    label: str | None = None,
    batch: str | None = None,
    layer: str | None = None,
    seed: int = 1,
    runs_dir: str | Path = "runs",
    settings: Mapping[str, Any] | None = None,
) -> FinishedRun:
    """Compute one run, or find it done.

    Parameters
    ----------
    model
        Any model of `leadline list models`.
    data
        An AnnData, the path of a file, or the name of a dataset.
    label, batch
        Columns of obs: cell types, and donors or plates.
    layer
        Another matrix than X: `raw`, or the name of a layer.
    settings
        Any other setting of the command line, as {"train.epochs": 3}.

    Raises
    ------
    leadline.errors.UserError
        When settings and cells do not go together: the rule, what was received, what to do.
    """
    from leadline.config.compose import compose
    from leadline.runs.run import run as compute
    from leadline.studies.overrides import to_overrides

    given = {"model": model, "seed": seed, "runs_dir": str(runs_dir)}
    given |= _data_settings(data, Path(runs_dir), settings, label=label, batch=batch, layer=layer)
    return FinishedRun(compute(compose(to_overrides(given | dict(settings or {})))))


def study(
    name: str,
    *,
    runs_dir: str | Path = "runs",
    settings: Mapping[str, Any] | None = None,
    budget: str | float | None = None,
) -> FinishedStudy:
    """Make what is missing of a study, as `leadline ablate` does, and write its page.

    `budget` ("10 min", or seconds) stops in time; the page then says what is still missing. Ctrl-C
    stops too, and the same call goes on.
    """
    from leadline.studies.overrides import to_overrides

    words = to_overrides({"runs_dir": str(runs_dir), **(settings or {})})
    return _made(name, words, Path(runs_dir), budget)


def compare(
    adata: Any,
    *,
    label: str,
    batch: str | None = None,
    layer: str | None = None,
    models: Sequence[str] | None = None,
    seeds: int = 5,
    budget: str | float | None = None,
    runs_dir: str | Path = "runs",
    settings: Mapping[str, Any] | None = None,
) -> FinishedStudy:
    """Ask of these cells whether any transformer beats logistic regression: study `own_data`.

    `models` are arms of that study to keep (logistic regression always is among them); `adata` may
    be an AnnData, which is never changed, or the path of a file.
    """
    from leadline.studies.overrides import to_overrides
    from leadline.studies.own_data import with_arms

    folder = Path(runs_dir)
    given = _data_settings(adata, folder, settings, label=label, batch=batch, layer=layer)
    given |= {"runs_dir": str(folder), **(settings or {})}
    chosen = f"seed={','.join(map(str, range(1, seeds + 1)))}"
    name = "own_data" if models is None else str(with_arms(models, folder))
    return _made(name, (*to_overrides(given), chosen), folder, budget)


def predict(
    finished: FinishedRun | str | Path,
    adata: Any,
    *,
    layer: str | None = None,
    threshold: float = 0.5,
    probabilities: bool = False,
    runs_dir: str | Path = "runs",
) -> pd.Series | pd.DataFrame:
    """Name the types of new cells: a label for each, or with `probabilities` the whole table.

    Cells whose highest probability lies below `threshold` are called "unassigned".
    """
    import tempfile

    import pandas as pd

    from leadline.runs.predict import Request, annotate

    run_folder = finished.folder if isinstance(finished, FinishedRun) else Path(finished)
    with tempfile.TemporaryDirectory() as place:
        cells = (
            Path(adata) if isinstance(adata, (str, Path)) else _written(adata, Path(place), layer)
        )
        out = Path(place) / "labels.csv"
        data = {"layer": layer} if layer and isinstance(adata, (str, Path)) else {}
        annotate(
            Request(
                run=str(run_folder), cells=cells, out=out, runs_dir=Path(runs_dir),
                threshold=threshold, data=data,
            )
        )  # fmt: skip
        table = pd.read_csv(out, index_col="cell", dtype={"cell": str, "label": str})
    return table if probabilities else table["label"]


def read_runs(runs_dir: str | Path = "runs", *, study: str | None = None) -> pd.DataFrame:
    """Read every score of every finished run of a folder, a row each."""
    from leadline.report.frame import frame
    from leadline.runs.records import read_done

    return frame(read_done(Path(runs_dir), study))


def report(
    study: str | FinishedStudy, *, runs_dir: str | Path = "runs", out: str | Path | None = None
) -> FinishedStudy:
    """Write the page of a study, by default into report/NAME beside the folder of its runs."""
    from leadline.papers.boiarsky.reference import PublishedReference
    from leadline.report.write import write_report

    name = study.name if isinstance(study, FinishedStudy) else study
    folder = study.runs_dir if isinstance(study, FinishedStudy) else Path(runs_dir)
    place = Path(out) if out else folder.parent / "report" / name
    page = write_report(folder, place, [name], reference=PublishedReference())
    return FinishedStudy(name=name, runs_dir=folder, page=page)


def _made(
    name: str, words: Sequence[str], runs_dir: Path, budget: str | float | None
) -> FinishedStudy:
    """Make what is missing of a study and write its page."""
    from leadline.cli.ablate import make, parse_words, planned
    from leadline.studies import manifest

    seconds = _seconds(budget)
    asked = parse_words(words)
    plan, runs = planned(name, asked.overrides)
    manifest.write(plan, runs, runs_dir)
    make(plan, runs, asked, "the same call", seconds=seconds, paged=False)
    return report(plan.study.name, runs_dir=runs_dir)


def _data_settings(
    data: Any,
    runs_dir: Path,
    settings: Mapping[str, Any] | None,
    *,
    label: str | None,
    batch: str | None,
    layer: str | None,
) -> dict[str, Any]:
    """Give the settings that lead a run to these cells."""
    columns = {"data.label": label, "data.batch": batch}
    columns = {key: value for key, value in columns.items() if value is not None}
    if isinstance(data, str) and not re.search(r"[./\\]", data):
        return {"data": data, **columns, **({"data.layer": layer} if layer else {})}
    if isinstance(data, (str, Path)):
        more = {"data.layer": layer} if layer else {}
        return {"data": "h5ad", "data.path": str(data), **columns, **more}
    from leadline.data.cells.in_memory import write_in_memory

    others = [str((settings or {})[key]) for key in OTHER_COLUMNS if (settings or {}).get(key)]
    path = write_in_memory(
        data, runs_dir / CELLS, label=label, batch=batch, layer=layer, others=others
    )
    return {"data": "h5ad", "data.path": str(path), **columns}


def _written(adata: Any, folder: Path, layer: str | None) -> Path:
    from leadline.data.cells.in_memory import write_in_memory

    return write_in_memory(adata, folder, label=None, batch=None, layer=layer)


def _seconds(budget: str | float | None) -> float | None:
    """Read a length of time: a number of seconds, or a text such as "10 min"."""
    if budget is None or isinstance(budget, (int, float)):
        return budget
    found = re.fullmatch(r"\s*([\d.]+)\s*(s|sec|min|h|hours?|minutes?|seconds?)?\s*", budget)
    if not found:
        from leadline.errors import UserError

        raise UserError(
            "budget must be a length of time",
            got=repr(budget),
            remedy='write "90 s", "10 min" or "2 h"',
        )
    unit = (found.group(2) or "s")[0]
    return float(found.group(1)) * {"s": 1, "m": 60, "h": 3600}[unit]


def _headline(metrics: Mapping[str, float]) -> list[str]:
    """Choose the metrics that a glance needs."""
    return [name for name in ("accuracy", "macro_f1") if name in metrics]


class _CallableModule(ModuleType):
    """The package `leadline.report`, which takes the place of the function once it is imported."""

    def __call__(self, study: str | FinishedStudy, **where: Any) -> FinishedStudy:
        """Write the page of a study."""
        return report(study, **where)


leadline.report.__class__ = _CallableModule
