"""Feature extractors behind one small interface."""
