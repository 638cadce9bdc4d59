"""One run: the loop, its optimizer and moving average, checkpoints, the accelerator, the run's folder."""
