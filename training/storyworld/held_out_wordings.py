"""List the words and constructions that only the split `test_words` uses; see `wordings.py`."""

HELD_OUT_VERBS = {
    "GO": ("stroll", "wander", "trot", "march", "stride", "dash", "scurry", "jog"),
    "REACH": ("approach", "wander up to", "pay a visit to", "proceed to"),
    "ARRIVE": ("emerge", "pop up", "make an entrance"),
    "STOP": ("pause", "settle"),
    "DEPART": ("depart", "vanish", "withdraw"),
    "CHASE": ("pursue", "race after", "hunt", "dart after"),
    "ESCAPE": ("flee", "dash", "bolt", "scamper"),
    "FIND": ("stumble upon", "detect", "hit upon", "uncover"),
    "GRAB": ("snatch", "collect", "seize", "gather up"),
    "LAY": ("place", "deposit"),
    "HAND": ("offer", "entrust"),
    "RECEIVE": ("accept", "obtain"),
    "FLY": ("drift", "whirl", "flutter"),
    "TRAVEL": ("trek", "wander", "migrate", "hike"),
    "REST": ("linger", "remain", "idle", "relax", "pause"),
    "PARTY": ("rejoice", "throw a feast"),
    "START": ("commence",),
    "CRY": ("exclaim", "yell"),
}

HELD_OUT_WORDINGS = {
    "walk": (
        "{who} [navigate] to {place}",
        "{who} [change] position and [&be] {at} now",
        "what [do] {who!} do? {he} [go/walk/run] {to}",
    ),
    "enter": (
        "pp> {other} [have] company now: {who!} [be] {at}",
        "a guest {at}: {who!}",
        "np> suddenly {who!} [pop] up {at}",
    ),
    "leave": (
        "{who} [bid] (farewell|adieu) and [&vanish]",
        "{who} [excuse] {himself} and [&leave]",
        "pp> without {who.obj}, {other} [feel] lonely",
        "only {other} [remain]",
    ),
    "chase": (
        "{who} [hurtle] after {other.obj} {at.mark?}",
        "{who} [be] on the heels of {other.obj} {at.mark?}",
    ),
    "shelter": (
        "{who} [crouch] {at} to stay dry",
        "{who} [seek] refuge {at}",
    ),
    "find": (
        "{a.prop} [attract] {who.poss} attention {at?}",
        "to {who.poss} surprise there [be] {a.prop} {at}",
        "how fortunate for {who.obj}: {a.prop} {at?}",
    ),
    "pick_up": (
        "{who} [take] possession of {the.prop} {at?}",
        "{the.prop} [end] up in {who.poss} arms {at?}",
        "{who} [claim] {the.prop} {at?}",
    ),
    "put_down": (
        "pp> {who} [get] rid of {the.prop}, which [lie] on the ground from now on",
        "{who} [part] with {the.prop} and [&LAY] it at {his} feet",
        "pp> {who} [free] {his} hands: {the.prop} [lie] on the ground",
    ),
    "give": (
        "pp> {the.prop} [change] hands: {other!} [own] it now",
        "{who} [donate] {the.prop} to {other.obj}",
        "{other} [become] the owner of {the.prop}",
    ),
    "lose": (
        "a gust [rob] {who.obj} of {the.prop} {at?}",
        "pp> {who} [miss] {the.prop}, because the breeze [take] it",
        "{the.prop} [vanish] into thin air",
    ),
    "help": (
        "{who} [lend] {other.obj} a hand and [&bring] {a.prop}",
        "{who} [come] to the rescue with {a.prop}",
    ),
    "travel": (
        "pp> {who} [roam] the world until {he} [come] {dest}",
        "pp> {who} [trade] {old} for {setting}, and {he} [be] {at} now",
    ),
    "travel/both": (
        "pp> {both} [roam+] the world until they [come+] {dest}",
        "pp> {both} [trade+] {old} for {setting}, and they [be+] {at} now",
    ),
    "weather/cloudy": (
        "pp> it [be] overcast {in?}",
        "a grey blanket [spread] over {place}",
        "pp> the heavens [be+] gloomy {in?}",
    ),
    "weather/rain": (
        "it [drizzle] {in?}",
        "{who} [catch] a shower {at?}",
        "it [bucket] down {in?}",
    ),
    "weather/snow": (
        "white flakes [tumble+] down {in?}",
        "a blizzard [START] {in?}",
        "winter [send] its flakes (to {who.obj}|{in})",
    ),
    "weather/storm": (
        "a tempest [rage] {in?}",
        "it [crash] and [&rumble] above {place}",
        "a bolt from the clouds [frighten] {who.obj}",
    ),
    "weather/clear": (
        "the weather [improve], and nothing [hide] the heavens",
        "it [brighten] up {in?}",
        "fine weather [return] {in?}",
    ),
    "time/day": (
        "dawn [come] {in?}",
        "the cock [crow] {in?}",
        "sunrise {in?}!",
    ),
    "time/evening": (
        "dusk [come] {in?}",
        "the horizon [glow] {in?}",
        "twilight [settle] over {place}",
    ),
    "time/night": (
        "it is bedtime {in?}",
        "midnight [come] {in?}",
        "it [become] pitch-black {in?}",
    ),
    "celebrate": (
        "bunting [decorate] the sky {in?}",
        "pennants [flutter+] above {who.obj}",
        "the festival [begin] {in?}",
        "{who} [decorate] everything for a feast {at?}",
    ),
    "wait": (
        "{who} [hesitate] {at?}",
        "everything [remain] (unchanged|the same) {in?}",
        "not a thing [stir] {in?}",
        "{who} [stand] motionless {at?}",
        "pp> {who} [refuse] to budge",
    ),
}

# Constructions around "{who} [verb] ...", the rest of which is `{rest}`; a verb is bare behind `=`, and an -ing form
# behind `~`.
HELD_OUT_CONSTRUCTIONS = (
    "it [be] {who!} who [verb] {rest}",
    "the one who [verb] {rest} [be] {who!}",
    "(watch|see) {who!} [=verb] {rest}",
    "we can see {who!} [~verb] {rest}",
    "there is {who!}, [~verb] {rest}",
    "guess who [verb] {rest}: {who!}",
    "did you know? {who!} [verb] {rest}",
)
HELD_OUT_OPENERS = ("meanwhile,", "all of a sudden,", "eventually,", "thereupon,", "without warning,")
