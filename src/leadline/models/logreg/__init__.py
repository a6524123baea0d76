"""L1 logistic regression: the baseline that has to be beaten, by two solvers."""

from leadline.models.logreg.model import LogisticRegression

__all__ = ["LogisticRegression"]
