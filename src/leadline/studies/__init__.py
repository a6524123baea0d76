"""Studies: ablations/*.yaml → the list of runs, their names, and what they will cost."""

from leadline.studies import manifest
from leadline.studies.expand import Plan, expand, varied
from leadline.studies.naming import Run, name_runs
from leadline.studies.schema import Study, read

__all__ = ["Plan", "Run", "Study", "expand", "manifest", "name_runs", "read", "varied"]
