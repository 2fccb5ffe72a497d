"""Reference distillers and what they stand on. Knows nothing of bench or metrics."""
