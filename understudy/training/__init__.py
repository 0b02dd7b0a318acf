"""Training: the loop, checkpoints, evaluation, and the pre-flight check."""
