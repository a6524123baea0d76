"""Criteria over the shares of the labels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import scipy.stats

from leadline.papers.claims.result import Part, Verdict
from leadline.papers.claims.result__claims_context import Context, not_run
from leadline.papers.claims.schema import Check
from leadline.report.compare.evidence import Side
from leadline.report.compare.families import cells_of


def rises_with_fraction(context: Context, check: Check) -> Iterator[Part]:
    """Means of one arm rise from each share of the labels to the next; better: over the runs."""
    for cell, _ in cells_of(replace(check, fractions=check.fractions[:1])):
        sides = [context.evidence.side(replace(cell, fraction=f)) for f in sorted(check.fractions)]
        label = f"{cell.dataset} {cell.model}/{cell.arm} {cell.metric} over labels"
        missing = [s.missing for s in sides if s.mean is None]
        numbers = {s.cell.label: s.recomputed for s in sides if s.recomputed is not None}
        if missing:
            yield not_run(label, "; ".join(missing), numbers=numbers)
            continue
        means = [float(s.mean) for s in sides if s.mean is not None]
        rises = bool((np.diff(means) > 0).all())
        p = _trend(sides) if all(s.has_runs for s in sides) else {}
        failing = tuple(test for test in p if p[test] >= context.setting.alpha) if rises else ()
        verdict = Verdict.FAILS if not rises else Verdict.FRAGILE if failing else Verdict.HOLDS
        yield Part(
            label=label,
            verdict=verdict,
            reason="means " + ", ".join(f"{mean:.4f}" for mean in means),
            estimate=means[-1] - means[0],
            p=p,
            fails_under=failing,
            numbers=numbers,
            margin=float(np.diff(means).min()),
        )


def _trend(sides: list[Side]) -> dict[str, float]:
    fractions = np.concatenate([np.full(s.n, s.cell.fraction) for s in sides])
    values = np.concatenate([s.values for s in sides])
    return {"spearman": float(scipy.stats.spearmanr(fractions, values).pvalue)}


def gap_shrinks_with_fraction(context: Context, check: Check) -> Iterator[Part]:
    """Mean of a less mean of b falls from each share of the labels to the next."""
    for first, second in cells_of(replace(check, fractions=check.fractions[:1])):
        assert second is not None, "a gap needs two arms"
        gaps, numbers, missing = [], {}, []
        for fraction in sorted(check.fractions):
            pair = [replace(cell, fraction=fraction) for cell in (first, second)]
            a, b = (context.evidence.side(cell) for cell in pair)
            if a.mean is None or b.mean is None:
                missing += [side.missing for side in (a, b) if side.mean is None]
                continue
            gaps.append(a.mean - b.mean)
            numbers[f"{a.cell.where} {first.metric}, gap"] = gaps[-1]
        label = f"{first.dataset} {first.metric}, gap over labels"
        if missing:
            yield not_run(label, "; ".join(missing), numbers=numbers)
            continue
        falls = bool((np.diff(gaps) < 0).all())
        yield Part(
            label=label,
            verdict=Verdict.HOLDS if falls else Verdict.FAILS,
            reason="gaps " + ", ".join(f"{gap:+.4f}" for gap in gaps),
            estimate=gaps[0] - gaps[-1],
            numbers=numbers,
            margin=float(-np.diff(gaps).max()),
        )
