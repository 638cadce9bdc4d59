"""Set captions of StoryWorld as sentences: spaces, capital letters, full stops, and contractions."""

import re

CONTRACTIONS = {
    **{f"{verb} not": f"{verb}n't" for verb in ("does", "did", "do", "is", "was", "are", "were", "has", "could")},
    **{f"{word} is": f"{word}'s" for word in ("it", "he", "she", "there", "what", "where", "that")},
    "i am": "i'm",
    "i will": "i'll",
    "cannot": "can't",
    "can not": "can't",
    "let us": "let's",
}
LONG = re.compile(rf"\b({'|'.join(CONTRACTIONS)})(?= \w)", re.IGNORECASE)
SHORT = re.compile(rf"\b({'|'.join(CONTRACTIONS.values())})(?=\s|$)")
LONG_FORMS = {short: long for long, short in CONTRACTIONS.items()}


def sentence(text: str) -> str:
    """Set spaces, the capital letters of sentences, and the full stop."""
    text = " ".join(text.split())
    text = re.sub(r" ([,:!?.])", r"\1", text)
    text = re.sub(r'(^"?|[!?.] )([a-z])', lambda match: match[1] + match[2].upper(), text)
    return text if text.endswith(("!", "?", '."', '!"')) else f"{text}."


def contract(text: str) -> str:
    """Return a text with "does not" as "doesn't" and the like."""
    return LONG.sub(lambda match: match[0][0] + CONTRACTIONS[match[0].lower()][1:], text)


def expand(text: str) -> str:
    """Return a text in lower case without the contractions of `contract`."""
    return SHORT.sub(lambda match: LONG_FORMS[match[0]], text)
