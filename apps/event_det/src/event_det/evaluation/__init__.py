"""The field's protocol, trivial baselines, and a model next to them."""
