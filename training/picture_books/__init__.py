"""Build a data set of openly licensed picture books: download, read and split them, and write the folder."""
