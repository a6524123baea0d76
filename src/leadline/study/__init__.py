"""Studies: ablations/*.yaml → the list of runs, their names, and what they will cost."""

from leadline.study import manifest
from leadline.study.expand import Plan, expand, varied
from leadline.study.naming import Run, name_runs
from leadline.study.schema import Study, read

__all__ = ["Plan", "Run", "Study", "expand", "manifest", "name_runs", "read", "varied"]
