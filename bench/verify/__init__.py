"""Whether a record can be believed: what it states, what its weights score, what training again gives."""
