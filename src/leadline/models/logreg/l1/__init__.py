"""L1 logistic regression, solved exactly."""
