"""Text metrics as `evaluate` modules that work offline."""
