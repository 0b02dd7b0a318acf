"""The cost of a training step, its parts, and the fastest settings."""
