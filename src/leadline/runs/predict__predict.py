"""`leadline predict`: a finished run names the types of cells that have no labels."""

from leadline.runs.predict import Request, annotate

__all__ = ["Request", "annotate"]
