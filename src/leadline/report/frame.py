"""The one schema of results: published numbers and our own have the same columns."""

# One row is one number: a metric of one part of the cells in one run.
COLUMNS = (
    "study",
    "artefact",
    "dataset",
    "model",
    "arm",
    "fraction",
    "seed",
    "split",
    "metric",
    "value",
    "precision",
    "source",
    "run_id",
    "note",
)

# What the column `note` says of one of our runs, beside its scores.
COLLAPSED, SELECTED = "collapsed to one class", "selected on the reported cells"
