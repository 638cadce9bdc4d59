"""The settings of StoryWorld, each with a landmark at its left, middle and right."""

PLACES = (20.0, 48.0, 76.0)  # x of the left, middle and right landmark, in design units

# By setting: colours of the far land, the ground and its speckles; names of its landmarks from left to right.
SETTINGS = {
    "forest": {
        "land": ((92, 150, 86), (120, 184, 92), (98, 160, 78)),
        "landmarks": ("oak", "stump", "mushrooms"),
    },
    "beach": {
        "land": ((70, 160, 210), (244, 222, 160), (224, 198, 132)),
        "landmarks": ("rock", "sandcastle", "palm"),
    },
    "farm": {
        "land": ((170, 196, 96), (196, 206, 110), (170, 180, 84)),
        "landmarks": ("barn", "haystack", "windmill"),
    },
    "village": {
        "land": ((150, 176, 140), (206, 190, 170), (184, 166, 146)),
        "landmarks": ("bakery", "well", "tower"),
    },
    "mountains": {
        "land": ((128, 136, 164), (150, 166, 140), (130, 144, 122)),
        "landmarks": ("cave", "bridge", "cabin"),
    },
    "snowfield": {
        "land": ((206, 222, 240), (240, 246, 252), (220, 232, 244)),
        "landmarks": ("igloo", "snowman", "fir"),
    },
    "garden": {
        "land": ((110, 170, 110), (150, 206, 110), (128, 186, 92)),
        "landmarks": ("greenhouse", "fountain", "roses"),
    },
    "desert": {
        "land": ((226, 170, 110), (240, 200, 130), (222, 178, 108)),
        "landmarks": ("cactus", "tent", "arch"),
    },
}

ALL_SETTINGS = tuple(SETTINGS)
