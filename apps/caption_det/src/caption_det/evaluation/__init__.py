"""Metrics, the evaluation by them, trivial baselines, and the report."""
