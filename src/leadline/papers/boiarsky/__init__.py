"""The paper's numbers as data, in the tidy schema of our own results.

`runs()` has one number per row and run, `aggregates()` the printed aggregates; README.md beside the
files tells where they come from. Both frames are fresh copies at each call.
"""

from leadline.papers.boiarsky.numbers import aggregates, artefacts, half_widths, runs, select

__all__ = ["aggregates", "artefacts", "half_widths", "runs", "select"]
