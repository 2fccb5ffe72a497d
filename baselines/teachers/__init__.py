"""Models to be distilled."""
