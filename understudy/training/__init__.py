"""How networks are trained: configs, the loop, checkpoints, the check before."""
