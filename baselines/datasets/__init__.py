"""Data the suites train on."""
