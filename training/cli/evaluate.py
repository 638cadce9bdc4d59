"""`storyattn evaluate`: measure a model on a split of a data set, beside floors."""

import shlex
import sys

from ..common.access_flags import add_access_flags
from ..common.columns import add_column_flags
from ..common.command_line import CommandParser
from ..common.defaults import BAD_STORY_POLICIES, CACHE_LIMIT_GB, FEATURE_NETWORK, WORDINGS
from ..common.errors import one_line

COMMAND = "storyattn evaluate"


def build_parser() -> CommandParser:
    """Return the parser of the command."""
    parser = CommandParser(
        COMMAND,
        "Measure a model on a split of a data set, beside floors: what simple guesses reach.",
        f"{COMMAND} --model runs/tiny --dataset storyworld --split test --output results.json",
    )
    topic = parser.add_topic("what is measured")
    add = topic.add_argument
    add("--model", required=True, metavar="MODEL", help="folder or Hub id of the model")
    add("--dataset", required=True, metavar="DATASET", help="storyworld, a folder or a Hub id with frames and captions")
    add("--split", default="test", help="split to measure on")
    add("--story_frames", type=int, default=6, help="frames of a story that storyworld draws")
    add(
        "--wordings",
        choices=WORDINGS,
        default=WORDINGS[0],
        help="captions of storyworld; plain: one wording an event",
    )
    add("--train_split", help="split for the training floors; default: train, if any; '' leaves them out")
    add("--max_windows", type=int, help="measure this many transitions, spread evenly over stories; default: all")
    add("--context_frames", type=int, help="show at most this many frames before the measured one; default: all")
    add("--seed", type=int, default=0, help="seed by which captions and frames are exchanged")
    add = parser.add_topic("what it is measured with").add_argument
    network = "vision model (folder or Hub id) of the perceptual distance, FID and KID; '' leaves them out"
    add("--feature_network", default=FEATURE_NETWORK, help=network)
    add("--clip_model", help="CLIP model (folder or Hub id): measures the CLIP score")
    add("--text_only", help="folder or Hub id of a trained baseline text_only, a floor of captions")
    add("--codraw_detector", help="folder of `storyattn data codraw-detector`: measures objects of CoDraw")
    add = parser.add_topic("how the data are read").add_argument
    add_column_flags(parser.add_topic("how the data are read"))
    add_access_flags(parser.add_topic("how the data are read"))
    add("--on_bad_story", choices=BAD_STORY_POLICIES, default="skip", help="what to do with broken stories")
    add("--cache_dir", help="folder of resized frames; default: beside the data sets")
    add("--cache_limit_gb", type=float, default=CACHE_LIMIT_GB, help="size in GB that the folder may have at most")
    add = parser.add_topic("speed and output").add_argument
    add("--output", default="results.json", metavar="FILE", help="file for the numbers")
    add("--batch_size", type=int, default=16, help="windows per batch")
    add("--device", help="cpu, cuda, ...; default: a GPU where there is one")
    return parser


def main(argv: list[str] | None = None) -> None:
    """Run the command; a wrong argument ends it with one line and exit status 2."""
    argv = sys.argv[1:] if argv is None else list(argv)
    arguments = build_parser().parse_args(argv)
    from ..evaluation.command import run_evaluation

    with one_line(COMMAND):
        run_evaluation(arguments, f"{COMMAND} {shlex.join(argv)}")
    print(f"\nwritten to {arguments.output}")
