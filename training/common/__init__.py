"""What all rooms share: errors, files, signals, evaluation mode."""
