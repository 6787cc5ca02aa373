"""Metrics, protocol, baselines and the assessment."""
