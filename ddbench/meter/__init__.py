"""The meter, from which a method gets its steps: budget, checkpoints, resuming, snapshots, log, cache."""
