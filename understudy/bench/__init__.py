"""What a training step costs, where its time goes, and which settings are the fastest."""
