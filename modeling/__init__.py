"""StoryAttn: reads a picture story and carries it on."""
