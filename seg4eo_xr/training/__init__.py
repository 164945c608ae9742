"""Training: configuration, losses, the Lightning task and the run that leaves checkpoints."""
