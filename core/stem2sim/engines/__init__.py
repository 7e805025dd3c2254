"""What all engines share: the contract, relaxation, motion, checkpoints, external programs, trajectories."""
