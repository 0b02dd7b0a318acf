"""Code that several methods share: rows of logits, relations between samples, maps, pairs of taps, copies, stages."""
