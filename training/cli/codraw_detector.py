"""`storyattn data codraw-detector`: train the network that reads pictures of CoDraw."""

from ..codraw.detector_options import TrainingOptions
from ..codraw.dialogues import SPLITS
from ..common.command_line import CommandParser
from ..common.errors import one_line
from .codraw import add_source_flags

COMMAND = "storyattn data codraw-detector"
COLUMNS = ("precision", "recall", "f1", "place_error", "places_close", "depth_right")


def build_parser() -> CommandParser:
    """Return the parser of the command."""
    text = "Train the network that reads pictures of CoDraw, by which predicted frames are measured."
    parser = CommandParser(COMMAND, text, f"{COMMAND} --output runs/codraw-detector")
    add_source_flags(parser, "folder for the detector")
    add, defaults = parser.add_argument, TrainingOptions()
    add("--steps", type=int, default=defaults.steps, help="batches to train on")
    add("--batch_size", type=int, default=defaults.batch_size, help="scenes per batch")
    add("--learning_rate", type=float, default=defaults.learning_rate, help="the highest one")
    add("--check_every", type=int, default=defaults.check_every, help="steps between measurements")
    add("--seed", type=int, default=defaults.seed, help="draws the scenes and the first weights")
    add(
        "--splits", nargs="*", choices=list(SPLITS.values()), default=["validation", "test"], help="measured at the end"
    )
    return parser


def main(argv: list[str] | None = None) -> None:
    """Run the command; a mistake in its arguments ends it with one line and exit status 2."""
    arguments = build_parser().parse_args(argv)
    from ..codraw.detector import DetectorConfig
    from ..codraw.detector_run import DetectorRun, make_detector

    training = {name: getattr(arguments, name) for name in ("steps", "batch_size", "learning_rate", "check_every")}
    output = arguments.output.expanduser()
    run = DetectorRun(
        output=output,
        source=arguments.source,
        download_dir=arguments.download_dir,
        config=DetectorConfig(image_size=tuple(arguments.image_size)),
        training=TrainingOptions(**training, seed=arguments.seed),
        splits=tuple(arguments.splits),
        overwrite=arguments.overwrite,
    )
    with one_line(COMMAND):
        accuracy = make_detector(run)
    for split, numbers in accuracy.items():
        shown = ", ".join(f"{name} {numbers[name]:.4f}" for name in COLUMNS if name in numbers)
        floor = f"{numbers['floor']['f1']:.4f}"
        print(f"true pictures of {split} ({numbers['count']}): {shown}; f1 of one answer for all: {floor}")
    print(f"written to {output}")
