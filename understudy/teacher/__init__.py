"""Cheaper teachers: folding, low precision if the answers stay equal, batching, shared passes."""
