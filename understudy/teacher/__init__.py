"""Cheaper teachers: folded batch norms, low precision, larger batches, shared forward passes."""
