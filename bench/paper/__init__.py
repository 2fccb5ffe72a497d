"""A manuscript against the leaderboards: numbers cited by row, found in LaTeX and compared."""
