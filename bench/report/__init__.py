"""Records to tables: collect -> table -> renderer. Pure functions; only the pictures import numerics."""
