"""Which cells train, select, are reported."""
