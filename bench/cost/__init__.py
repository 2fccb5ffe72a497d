"""What a run will cost before it runs: work units, FLOPs, time on the machine at hand and on named GPUs."""
