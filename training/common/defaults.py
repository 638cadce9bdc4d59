"""Values that flags and the code behind them share; nothing is imported for them, so that help is shown at once."""

# Frames
CACHE_LIMIT_GB = 20.0  # size of the folder of resized frames
BAD_STORY_POLICIES = ("skip", "raise")
FEATURE_NETWORK = "efficientnet-lite0"  # of the perceptual distance, FID and KID; its package is of the extra `metrics`

# Builders of data sets
CACHES = {name: f"~/.cache/storyattn/{name}" for name in ("codraw", "picture-books", "scone")}  # of downloads
CODRAW_SIZE = (96, 120)  # height and width of frames, in pixels
SCONE_DOMAINS = ("scene", "alchemy", "tangrams")
SCONE_SIZE = (64, 96)

# StoryWorld
NUM_STORIES = {"train": 3500, "validation": 200, "test": 200, "test_unseen": 200, "test_words": 200}
STORYWORLD_SIZE = (64, 96)  # height and width of frames, in pixels
WORDINGS = ("varied", "plain")  # of an event: as many as the grammar has, or one

# Devices of `storyattn estimate`: GPUs whose speed a table has, and those on which some steps are run.
TABLED_DEVICES = ("t4", "l4", "a10g", "rtx4090", "a100", "h100", "h200")
TIMED_DEVICES = ("cpu", "cuda")
