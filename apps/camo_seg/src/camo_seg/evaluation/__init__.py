"""The field's protocol, baselines and the assessment."""
