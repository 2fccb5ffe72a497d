"""What the methods' papers claim, checked against the records: one claim, one small class."""
