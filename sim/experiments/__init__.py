"""Replications, comparisons and the plan."""
