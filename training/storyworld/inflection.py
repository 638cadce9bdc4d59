"""Inflect English verbs: the forms and tenses that captions of StoryWorld use."""

from functools import cache

# Third person, -ing form, past, past participle.
IRREGULAR = {
    "be": ("is", "being", "was", "been"),
    "become": ("becomes", "becoming", "became", "become"),
    "begin": ("begins", "beginning", "began", "begun"),
    "bend": ("bends", "bending", "bent", "bent"),
    "bid": ("bids", "bidding", "bade", "bidden"),
    "blow": ("blows", "blowing", "blew", "blown"),
    "break": ("breaks", "breaking", "broke", "broken"),
    "bring": ("brings", "bringing", "brought", "brought"),
    "can": ("can", "", "could", ""),
    "catch": ("catches", "catching", "caught", "caught"),
    "come": ("comes", "coming", "came", "come"),
    "do": ("does", "doing", "did", "done"),
    "fall": ("falls", "falling", "fell", "fallen"),
    "feel": ("feels", "feeling", "felt", "felt"),
    "find": ("finds", "finding", "found", "found"),
    "flee": ("flees", "fleeing", "fled", "fled"),
    "fly": ("flies", "flying", "flew", "flown"),
    "get": ("gets", "getting", "got", "got"),
    "give": ("gives", "giving", "gave", "given"),
    "go": ("goes", "going", "went", "gone"),
    "hang": ("hangs", "hanging", "hung", "hung"),
    "have": ("has", "having", "had", "had"),
    "hide": ("hides", "hiding", "hid", "hidden"),
    "hit": ("hits", "hitting", "hit", "hit"),
    "hold": ("holds", "holding", "held", "held"),
    "keep": ("keeps", "keeping", "kept", "kept"),
    "lay": ("lays", "laying", "laid", "laid"),
    "lead": ("leads", "leading", "led", "led"),
    "leave": ("leaves", "leaving", "left", "left"),
    "lend": ("lends", "lending", "lent", "lent"),
    "lie": ("lies", "lying", "lay", "lain"),
    "lose": ("loses", "losing", "lost", "lost"),
    "make": ("makes", "making", "made", "made"),
    "pay": ("pays", "paying", "paid", "paid"),
    "put": ("puts", "putting", "put", "put"),
    "rise": ("rises", "rising", "rose", "risen"),
    "run": ("runs", "running", "ran", "run"),
    "say": ("says", "saying", "said", "said"),
    "see": ("sees", "seeing", "saw", "seen"),
    "seek": ("seeks", "seeking", "sought", "sought"),
    "send": ("sends", "sending", "sent", "sent"),
    "set": ("sets", "setting", "set", "set"),
    "shine": ("shines", "shining", "shone", "shone"),
    "show": ("shows", "showing", "showed", "shown"),
    "sink": ("sinks", "sinking", "sank", "sunk"),
    "spread": ("spreads", "spreading", "spread", "spread"),
    "stand": ("stands", "standing", "stood", "stood"),
    "stride": ("strides", "striding", "strode", "stridden"),
    "take": ("takes", "taking", "took", "taken"),
    "throw": ("throws", "throwing", "threw", "thrown"),
    "wake": ("wakes", "waking", "woke", "woken"),
    "withdraw": ("withdraws", "withdrawing", "withdrew", "withdrawn"),
}
DOUBLED = {"drop", "grab", "jog", "pop", "rob", "slip", "spot", "stir", "stop", "trek", "trot"}
TENSES = ("present", "progressive", "past", "perfect")
PLURAL = {"is": "are", "was": "were", "has": "have", "does": "do"}
VOWELS = "aeiou"


@cache
def verb_forms(verb: str) -> tuple[str, str, str, str]:
    """Return third person, -ing form, past and past participle of a verb, given in its base form."""
    if verb in IRREGULAR:
        return IRREGULAR[verb]
    if verb.endswith("y") and verb[-2] not in VOWELS:
        return f"{verb[:-1]}ies", f"{verb}ing", f"{verb[:-1]}ied", f"{verb[:-1]}ied"
    third = f"{verb}es" if verb.endswith(("s", "sh", "ch", "x", "z")) else f"{verb}s"
    stem = verb + verb[-1] if verb in DOUBLED else verb.removesuffix("e")
    past = f"{stem}ed"
    return third, f"{verb if verb.endswith('ee') else stem}ing", past, past


def inflect(verb: str, tense: str, plural: bool = False, second: bool = False) -> str:
    """Return a verb in a tense.

    Args:
        verb: its base form.
        tense: one of `TENSES`, or "bare" for the base form and "ing" for the -ing form.
        plural: whether the subject is plural.
        second: whether it is the second verb of a subject, which repeats no auxiliary: "is turning and walking".
    """
    third, ing, past, participle = verb_forms(verb)
    if tense == "bare":
        return verb
    if tense == "present" or (verb == "be" and tense == "progressive"):
        return (PLURAL.get(third, verb)) if plural else third
    if tense == "past":
        return PLURAL.get(past, past) if plural and verb == "be" else past
    form, auxiliary = (ing, "is") if tense in ("progressive", "ing") else (participle, "has")
    if second or tense == "ing":
        return form
    return f"{PLURAL[auxiliary] if plural else auxiliary} {form}"
