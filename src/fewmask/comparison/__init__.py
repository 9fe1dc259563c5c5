"""Methods x label budgets x seeds: run every cell, and say what the numbers carry."""
