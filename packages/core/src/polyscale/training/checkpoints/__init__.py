"""The checkpoints of a run: folders that are whole or ignored, and what they hold."""
