"""Records → one self-contained page that says what was run and what came of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Any

from leadline import atomic, record, results
from leadline.errors import UserError
from leadline.record import State

SHOWN = ("accuracy", "macro_f1", "balanced_accuracy", "log_loss", "calibration_error")

STYLE = """
:root { color-scheme: light dark; --line: #8884; --head: #8882; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 70rem; padding: 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .7rem; text-align: right; border-bottom: 1px solid var(--line); }
th { background: var(--head); } td:first-child, th:first-child { text-align: left; }
pre { background: var(--head); padding: .7rem; overflow-x: auto; }
"""


def write_report(runs_dir: Path, out: Path) -> Path:
    """Write `index.html` for the runs of a folder; give its path."""
    states = results.find(runs_dir)
    records = results.read_done(runs_dir)
    if not records:
        raise UserError(
            "a report needs at least one finished run",
            got=f"{len(states)} runs in {runs_dir}, none of them done",
            remedy="make one with leadline run model=logreg",
        )
    sections = [
        answer(records),
        section("Means over seeds", means_table(records)),
        section("Runs", runs_table(records)),
        unfinished(states),
        warnings(records),
        section("Provenance", made_with(records)),
    ]
    page = (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>leadline report</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        f"<h1>leadline report</h1>\n{''.join(sections)}</body>\n</html>\n"
    )
    out.mkdir(parents=True, exist_ok=True)
    atomic.write_text(out / "index.html", page)
    return out / "index.html"


def section(title: str, body: str) -> str:
    """Put a heading above a part of the page."""
    return f"<section>\n<h2>{escape(title)}</h2>\n{body}</section>\n"


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Lay out a table; every cell is escaped, since names come from users' files."""
    top = "".join(f'<th scope="col">{escape(name)}</th>' for name in head)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>\n"
        for row in rows
    )
    return (
        f'<div class="wide" tabindex="0"><table><thead><tr>{top}</tr></thead>\n'
        f"<tbody>{body}</tbody></table></div>\n"
    )


def groups(
    records: list[dict[str, Any]],
) -> dict[tuple[str, float, str, str], list[dict[str, Any]]]:
    """Collect the runs that differ in nothing but the seed."""
    grouped: dict[tuple[str, float, str, str], list[dict[str, Any]]] = {}
    for facts in records:
        key = (facts["dataset"], facts["fraction"], facts["protocol"]["name"], facts["arm"])
        grouped.setdefault(key, []).append(facts)
    return dict(sorted(grouped.items()))


def mean(group: list[dict[str, Any]], metric: str) -> float:
    """Average a metric of the reported cells over runs."""
    return float(sum(facts["metrics"]["test"][metric] for facts in group) / len(group))


def answer(records: list[dict[str, Any]]) -> str:
    """Say which model did best where, in one sentence each."""
    best: dict[tuple[str, float, str], list[tuple[float, str, int]]] = {}
    for (dataset, fraction, protocol, arm), group in groups(records).items():
        best.setdefault((dataset, fraction, protocol), []).append(
            (mean(group, "accuracy"), arm, len(group))
        )
    lines = []
    for (dataset, fraction, protocol), arms in best.items():
        score, arm, n = max(arms)
        lines.append(
            f"<li>{escape(dataset)}, {fraction:.0%} of the labels, protocol {escape(protocol)}: "
            f"the highest mean accuracy is {score:.3f}, by <b>{escape(arm)}</b> "
            f"({n} run{'s' if n > 1 else ''}; {len(arms)} models compared).</li>\n"
        )
    return f"<ul>\n{''.join(lines)}</ul>\n"


def means_table(records: list[dict[str, Any]]) -> str:
    """Average over seeds."""
    head = ["model", "dataset", "labels", "protocol", "runs", *SHOWN]
    rows = [
        [arm, dataset, f"{fraction:.0%}", protocol, len(group)]
        + [f"{mean(group, metric):.4f}" for metric in SHOWN]
        for (dataset, fraction, protocol, arm), group in groups(records).items()
    ]
    return table(head, rows)


def runs_table(records: list[dict[str, Any]]) -> str:
    """List every finished run."""
    head = ["run", "seed", *SHOWN, "seconds"]
    rows = [
        [facts["run_id"], facts["seed"]]
        + [f"{facts['metrics']['test'][metric]:.4f}" for metric in SHOWN]
        + [f"{facts['cost']['wall_seconds']:.1f}"]
        for facts in records
    ]
    return table(head, rows)


def unfinished(states: dict[Path, State]) -> str:
    """List what is not done, failed runs with the last line of their error."""
    rows = []
    for folder, state in states.items():
        if state is State.DONE:
            continue
        failed = folder / record.FAILED
        reason = failed.read_text().strip().splitlines()[-1] if failed.exists() else ""
        rows.append([folder.name, state, reason])
    return section("Not finished", table(["run", "state", "error"], rows)) if rows else ""


def warnings(records: list[dict[str, Any]]) -> str:
    """List each warning with the number of runs that carry it."""
    counted: dict[str, int] = {}
    for facts in records:
        for text in facts["warnings"]:
            counted[text] = counted.get(text, 0) + 1
    items = "".join(
        f"<li>{escape(text)} ({count} of {len(records)} runs)</li>\n"
        for text, count in sorted(counted.items())
    )
    return section("Warnings", f"<ul>\n{items}</ul>\n") if items else ""


def made_with(records: list[dict[str, Any]]) -> str:
    """Say with what the runs were made."""
    lines = sorted(
        {
            f"leadline {facts['provenance']['leadline']}, commit "
            f"{facts['provenance']['git_commit'] or 'unknown'}"
            f"{' with local changes' if facts['provenance']['git_dirty'] else ''}, Python "
            f"{facts['provenance']['python']}, "
            + ", ".join(f"{k} {v}" for k, v in facts["provenance"]["packages"].items())
            for facts in records
        }
    )
    data = sorted({f"{f['dataset']}: SHA-256 {f['data']['fingerprint']}" for f in records})
    return f"<pre>{escape(chr(10).join([*lines, *data]))}</pre>\n"
