"""Text metrics as `evaluate` modules that work offline: `evaluate.load("<this folder>/bleu4.py")`."""
