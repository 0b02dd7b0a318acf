"""What makes a teacher cheap: folding, low precision where it answers alike, batching, shared passes."""
