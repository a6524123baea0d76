"""`leadline reproduce --multiverse`: what the published runs say under every analysis."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from leadline import files as atomic
from leadline.papers.boiarsky import multiverse as published
from leadline.report import figures, page, tables
from leadline.report.multiverse import (
    MultiverseAnswer,
    answers_of,
    draw_answers,
    sentence,
    tables_of,
)
from leadline.report.tables import Table, shown


def reproduce_multiverse(out: Path | None, *, as_json: bool) -> str:
    """Analyse the published runs in every way; write the page if a folder is given."""
    answers, refused = answers_of(published.questions())
    made = [*published.all_tables(), *(table for each in answers for table in tables_of(each))]
    if out is not None:
        count = _write(out, answers, refused, made)
        print(f"wrote {count} files to {out}", file=sys.stderr)
    if as_json:
        return json.dumps({table.name: _object(table) for table in made}, allow_nan=False)
    return "\n".join(_lines(answers, refused))


def _object(table: Table) -> list[dict[str, object]]:
    return [dict(zip(table.columns, row, strict=True)) for row in table.rows]


def _lines(answers: list[MultiverseAnswer], refused: dict[str, str]) -> list[str]:
    flips = published.flips_table()
    lines = [f"{'comparison':52}{'p':>8}{'analyses':>10}{'p < .05':>9}{'flips':>7}  alone flips it"]
    for row in flips.rows:
        name, _, _, p, count, found, _, turned, alone = row
        lines.append(f"{name:52}{shown(p):>8}{count:>10}{found:>9}{turned:>7}  {alone}".rstrip())
    lines += ["", *flips.notes, ""]
    for family, trainings, universes, plain, voted in published.votes_table().rows:
        lines.append(
            f"{family}: {universes} universes of {trainings} trainings; significant in {plain:.0%} "
            f"(one vote a universe), {voted:.0%} (one vote a training)"
        )
    lines += ["", *map(sentence, answers)]
    return [*lines, *(f"{name}: {why}" for name, why in refused.items())]


def _write(
    out: Path, answers: list[MultiverseAnswer], refused: dict[str, str], made: list[Table]
) -> int:
    drawings, skipped = draw_answers(answers)
    parts, count = [], 1
    for each in drawings:
        wide = each.wide
        paths = figures.save(wide.figure, out / "figures", wide.name, wide.title)
        count += len(paths)
        drawn = paths[-1].read_text(encoding="utf-8")
        narrow = (
            "" if each.narrow is None else figures.to_svg(each.narrow.figure, wide.title).decode()
        )
        parts.append(
            page.figure(wide.name, wide.title, wide.caption, wide.description, drawn, narrow)
        )
    parts += [
        page.paragraph(f"No figure {name}: {why}.") for name, why in (refused | skipped).items()
    ]
    for table in made:
        atomic.write_text(out / f"{table.name}.csv", tables.to_csv(table))
        count += 1
    few = [tables.to_html(table) for table in made if not table.name.endswith("_universes")]
    rest = [tables.to_html(table) for table in made if table.name.endswith("_universes")]
    body = [
        page.paragraph(
            "The runs that Boiarsky et al. printed, under every analysis that somebody might have "
            "made of them. Nothing is trained."
        ),
        page.items([sentence(each) for each in answers]),
        *few[:3],
        page.section("figures", "Curves", "".join(parts)),
        *few[3:],
        *rest,
        page.section(
            "again",
            "How to reproduce this page",
            page.command("leadline reproduce --multiverse --out DIR"),
        ),
    ]
    document = page.document("Which conclusions hang on an analysis", "".join(body))
    atomic.write_text(out / "index.html", document)
    return count
