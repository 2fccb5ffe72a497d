"""The contract of a method as rules with ids, and a short training under observation that judges them."""
