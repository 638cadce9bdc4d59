"""Name the characters, props, landmarks and settings of StoryWorld in several ways, some for one test alone."""

from dataclasses import dataclass

from .landmarks import LANDMARK_NAMES


@dataclass(frozen=True)
class CharacterWords:
    """Phrases for one character.

    Attributes:
        synonyms: other names.
        features: what is visible of this character and of no other.
        held_out: names and features that only the split `test_words` uses.
        pronouns: pronouns of which a story uses one.
    """

    synonyms: tuple[str, ...]
    features: tuple[str, ...]
    held_out: tuple[str, ...]
    pronouns: tuple[str, ...] = ("he", "she", "it")


PRONOUN_CASES = {
    "he": {"": "he", "obj": "him", "poss": "his", "self": "himself"},
    "she": {"": "she", "obj": "her", "poss": "her", "self": "herself"},
    "it": {"": "it", "obj": "it", "poss": "its", "self": "itself"},
}
CHARACTER_WORDS = {
    "fox": CharacterWords(
        ("the little fox", "the orange fox"),
        ("the one with the bushy tail", "the orange animal", "the animal with the bushy tail"),
        ("the vixen",),
        ("she",),
    ),
    "bear": CharacterWords(
        ("the brown bear", "the little bear"),
        ("the one in the red scarf", "the brown animal", "the animal in the red scarf"),
        ("the grizzly", "the teddy"),
    ),
    "rabbit": CharacterWords(
        ("the white rabbit", "the little rabbit"),
        ("the one with the long ears", "the animal with the long ears"),
        ("the bunny", "the hare"),
    ),
    "owl": CharacterWords(
        ("the wise owl", "the little owl"), ("the purple bird", "the purple animal"), ("the hooting creature",)
    ),
    "cat": CharacterWords(
        ("the black cat", "the little cat"),
        ("the one in the yellow scarf", "the animal in the yellow scarf"),
        ("the kitty", "the feline"),
    ),
    "frog": CharacterWords(
        ("the green frog", "the little frog"), ("the green animal", "the one with the big eyes"), ("the toad",)
    ),
    "pig": CharacterWords(
        ("the pink pig", "the little pig"), ("the pink animal", "the one with the snout"), ("the piglet",)
    ),
    "elephant": CharacterWords(
        ("the grey elephant", "the little elephant"),
        ("the one with the trunk", "the animal with the trunk"),
        ("the trunked creature",),
    ),
    "penguin": CharacterWords(
        ("the little penguin", "the blue penguin"),
        ("the bird in the scarf", "the one in the blue scarf"),
        ("the seabird",),
    ),
    "sheep": CharacterWords(
        ("the woolly sheep", "the little sheep"),
        ("the woolly animal", "the one with the woolly head"),
        ("the lamb", "the curly creature"),
    ),
    "girl": CharacterWords(
        ("the little girl", "the girl in red"),
        ("the one in the red dress", "the one with the plaits", "the child in the red dress"),
        ("the lass", "the young lady"),
        ("she",),
    ),
    "boy": CharacterWords(
        ("the little boy", "the boy in yellow"),
        ("the one in the yellow shirt", "the child in the yellow shirt"),
        ("the lad", "the youngster in yellow"),
        ("he",),
    ),
    "grandmother": CharacterWords(
        ("Grandma", "Grandmother", "the old woman"),
        ("the woman in the purple dress", "the one with the bun", "the one with the grey hair"),
        ("Granny", "the elderly lady"),
        ("she",),
    ),
    "farmer": CharacterWords(
        ("the farmer in green", "the farmer with the straw hat"),
        ("the man in the green shirt", "the one in the straw hat", "the man with the straw hat"),
        ("the peasant", "the grower"),
        ("he",),
    ),
    "sailor": CharacterWords(
        ("the bearded sailor", "the sailor in blue"),
        ("the man in the blue shirt", "the one in the white hat", "the man with the orange beard"),
        ("the seaman", "the skipper"),
        ("he",),
    ),
    "wizard": CharacterWords(
        ("the old wizard", "the wizard with the long beard"),
        ("the one in the purple hat", "the one with the pointed hat", "the man with the white beard"),
        ("the magician", "the sorcerer"),
        ("he",),
    ),
}
ANIMALS = ("fox", "bear", "rabbit", "owl", "cat", "frog", "pig", "elephant", "penguin", "sheep")
# What several characters share: it names one of them where no other of them is on stage.
SHARED_FEATURES = {
    "the animal": ANIMALS,
    "the bird": ("owl", "penguin"),
    "the one in the scarf": ("bear", "cat", "penguin"),
    "the animal with the scarf": ("bear", "cat", "penguin"),
    "the child": ("girl", "boy"),
    "the man": ("farmer", "sailor", "wizard"),
    "the man with the beard": ("sailor", "wizard"),
    "the one in the hat": ("farmer", "sailor", "wizard"),
    "the woman": ("grandmother",),
}
SIDES = {True: ("the one on the left",), False: ("the one on the right",)}

PROP_SYNONYMS = {
    "ball": ("red ball", "striped ball"),
    "book": ("blue book", "open book"),
    "lantern": ("lamp", "burning lantern"),
    "kite": ("colourful kite", "bright kite"),
    "key": ("golden key", "yellow key"),
    "flower": ("pink flower", "pretty flower"),
    "basket": ("basket of apples", "fruit basket"),
    "gift": ("present", "gift with the yellow ribbon"),
    "drum": ("red drum", "little drum"),
    "umbrella": ("purple umbrella",),
    "balloon": ("orange balloon",),
    "honey pot": ("pot of honey", "pot full of honey"),
}
HELD_OUT_PROP_SYNONYMS = {
    "book": ("storybook",),
    "lantern": ("lampion",),
    "flower": ("blossom",),
    "basket": ("hamper",),
    "gift": ("parcel",),
    "umbrella": ("brolly",),
    "honey pot": ("jar of honey",),
}

LANDMARK_SYNONYMS = {
    "oak": ("the oak", "the oak tree"),
    "stump": ("the stump",),
    "mushrooms": ("the mushrooms", "the toadstools"),
    "rock": ("the rock", "the grey rock"),
    "sandcastle": ("the castle of sand",),
    "palm": ("the palm",),
    "barn": ("the barn",),
    "haystack": ("the pile of hay",),
    "windmill": ("the mill",),
    "bakery": ("the bakery shop",),
    "well": ("the old well",),
    "tower": ("the tower", "the tower with the clock"),
    "cave": ("the dark cave",),
    "bridge": ("the bridge",),
    "cabin": ("the cabin", "the wooden cabin"),
    "igloo": ("the snow house",),
    "snowman": ("the man of snow",),
    "fir": ("the fir", "the green fir"),
    "greenhouse": ("the glass house",),
    "fountain": ("the stone fountain",),
    "roses": ("the roses", "the bush of roses"),
    "cactus": ("the cactus", "the green cactus"),
    "tent": ("the tent",),
    "arch": ("the arch", "the arch of stone"),
}
HELD_OUT_LANDMARK_SYNONYMS = {
    "rock": ("the boulder",),
    "barn": ("the shed",),
    "haystack": ("the heap of straw",),
    "bakery": ("the baker's",),
    "cave": ("the cavern",),
    "cabin": ("the hut",),
    "fir": ("the conifer",),
    "roses": ("the rosebush",),
}

# Preposition of rest, and name.
SETTING_WORDS = {
    "forest": (("in", "the forest"), ("in", "the woods")),
    "beach": (("on", "the beach"), ("by", "the sea")),
    "farm": (("on", "the farm"),),
    "village": (("in", "the village"),),
    "mountains": (("in", "the mountains"), ("high up in", "the mountains")),
    "snowfield": (("in", "the snowfield"), ("in", "the land of snow")),
    "garden": (("in", "the garden"),),
    "desert": (("in", "the desert"), ("in", "the hot desert")),
}
HELD_OUT_SETTING_WORDS = {
    "forest": (("in", "the woodland"),),
    "beach": (("on", "the shore"),),
    "farm": (("on", "the homestead"),),
    "village": (("in", "the town"),),
    "mountains": (("in", "the highlands"),),
    "garden": (("in", "the park"),),
    "desert": (("in", "the dunes"),),
}


def landmark_phrases(landmark: str) -> tuple[str, ...]:
    """Return the phrases of training for a landmark, its usual name first."""
    return LANDMARK_NAMES[landmark], *LANDMARK_SYNONYMS[landmark]


def prop_phrases(prop: str) -> tuple[str, ...]:
    """Return the phrases of training for a prop, without an article, its usual name first."""
    return prop, *PROP_SYNONYMS[prop]
