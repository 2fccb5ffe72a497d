"""Files that suites need and that do not ship: known by name, fetched once, verified, kept in one cache."""
