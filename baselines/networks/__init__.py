"""Network bodies; parameter names equal the published ones."""
