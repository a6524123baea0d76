"""The paper's numbers as data, in the tidy schema of our own results.

`runs()` has one number per row and run, `tables()` the printed aggregates; README.md beside the
files tells where they come from. Both frames are fresh copies at each call.
"""

from leadline.papers.boiarsky.numbers import artefacts, half_widths, runs, select, tables

__all__ = ["artefacts", "half_widths", "runs", "select", "tables"]
