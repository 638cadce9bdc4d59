"""A trained model over HTTP: pictures and captions in JSON or as uploads, read in batches."""
