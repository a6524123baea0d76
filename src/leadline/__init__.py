"""leadline measures how deep a single-cell foundation model really goes.

In a notebook:

    import leadline as ll

    study = ll.compare(adata, label="cell_type", batch="donor", seeds=3)   # shows its answer
    run = ll.run(model="logreg", data=adata, label="cell_type")
    labels = ll.predict(run, other_adata)
    fitted = ll.models.L1Path().fit(X, y)      # the exact baseline, as scikit-learn has estimators

The same runs and pages as those of the command line; nothing heavy is imported before a call.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from leadline.cli.notebook import (
        FinishedRun,
        FinishedStudy,
        compare,
        predict,
        read_runs,
        report,
        run,
        study,
    )

__version__ = "0.1.0"
__all__ = [
    "FinishedRun",
    "FinishedStudy",
    "compare",
    "predict",
    "read_runs",
    "report",
    "run",
    "study",
]


def __getattr__(name: str) -> Any:
    """Import the interface when it is first asked for."""
    if name in __all__:
        return getattr(import_module("leadline.cli.notebook"), name)
    if name == "models":
        return import_module("leadline.models")
    raise AttributeError(f"module 'leadline' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
