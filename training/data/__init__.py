"""Turn a data set's name into batches: source, story, window, batch."""
