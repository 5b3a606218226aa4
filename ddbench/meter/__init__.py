"""What a method asks for steps: budget, checkpoints, resuming, snapshots, log, cache."""
