"""StoryWorld: the built-in data set of drawn stories."""
