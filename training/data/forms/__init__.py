"""Read stories in the forms in which people have them, and turn each into the columns `frames` and `captions`."""
