"""What is measured: tensors, folders or moments in, numbers out. Knows nothing of bench or baselines."""
