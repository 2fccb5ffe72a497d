"""Protocols: frozen, versioned records of how a number is made, one TOML file each. Imports no numerics."""
