"""Statistics over runs: functions of score arrays, with randomness as an argument.

Needs numpy and scipy only. `compare` gathers all of it for two arms.
"""

from leadline.stats.compare import ArmValues, Comparison, compare
from leadline.stats.equivalence import Equivalence, tost_paired, tost_welch
from leadline.stats.exact import mann_whitney, paired_permutation, permutation, wilcoxon
from leadline.stats.flags import (
    Flag,
    batch_effect,
    collapsed_by_value,
    collapsed_runs,
    constant_level,
    constant_macro_f1,
    dependent_replicates,
    few_runs,
    hinges_on_one_run,
    order_effect,
    precision_decides,
    require_same_data,
    selected_on_reported,
    two_modes,
)
from leadline.stats.inputs import pair_by_seed
from leadline.stats.intervals import (
    Interval,
    paper_interval,
    spread,
    student_interval,
)
from leadline.stats.modes import Modes, Order, at_most_runs, batch_test, find_modes, order_test
from leadline.stats.paired_predictions import McNemar, mcnemar
from leadline.stats.power import (
    Effect,
    detectable_difference,
    hedges_g,
    power_of,
    smallest_detectable,
)
from leadline.stats.precision import (
    Bounds,
    p_bounds,
)
from leadline.stats.t_tests import (
    Summary,
    TestResult,
    one_sample,
    paired_t,
    student,
    student_from_summaries,
    summarise,
    summary_from_paper,
    welch,
    welch_from_summaries,
)
from leadline.stats.tests import holm

__all__ = [
    "ArmValues",
    "Bounds",
    "Comparison",
    "Effect",
    "Equivalence",
    "Flag",
    "Interval",
    "McNemar",
    "Modes",
    "Order",
    "TestResult",
    "Summary",
    "at_most_runs",
    "batch_effect",
    "batch_test",
    "collapsed_by_value",
    "collapsed_runs",
    "compare",
    "constant_level",
    "constant_macro_f1",
    "dependent_replicates",
    "detectable_difference",
    "few_runs",
    "find_modes",
    "hedges_g",
    "hinges_on_one_run",
    "holm",
    "mann_whitney",
    "mcnemar",
    "one_sample",
    "order_effect",
    "order_test",
    "p_bounds",
    "pair_by_seed",
    "paired_permutation",
    "paired_t",
    "paper_interval",
    "permutation",
    "power_of",
    "precision_decides",
    "require_same_data",
    "selected_on_reported",
    "smallest_detectable",
    "spread",
    "student",
    "student_from_summaries",
    "student_interval",
    "summarise",
    "summary_from_paper",
    "tost_paired",
    "tost_welch",
    "two_modes",
    "welch",
    "welch_from_summaries",
    "wilcoxon",
]
