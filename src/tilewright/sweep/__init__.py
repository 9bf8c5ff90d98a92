"""Sweeps: from a search space over configurations to a Pareto front whose points say what confirmed them."""
