"""Publishing: a trained model as a folder with a model card, and that folder as a commit on the Hub."""
