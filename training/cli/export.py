"""`storyattn export`: write a model as ONNX files, with a page that runs it in a browser."""

from pathlib import Path

from ..common.command_line import CommandParser
from ..common.errors import one_line

COMMAND = "storyattn export"


def build_parser() -> CommandParser:
    """Return the parser of the command."""
    parser = CommandParser(
        COMMAND,
        "Write a model as ONNX files, with a page that runs it in a browser, and compare them with PyTorch.",
        f"{COMMAND} checkpoints/storyattn-tiny --output runs/browser",
    )
    parser.add_argument("model", help="folder or Hub id of the model")
    parser.add_argument("--output", required=True, metavar="FOLDER", help="folder to write to, new or empty")
    parser.add_argument("--dtype", choices=("fp32", "fp16"), default="fp32", help="in which weights are stored")
    parser.add_argument("--opset", type=int, default=20, help="version of the operators of ONNX")
    differs = "largest difference of pixels and logits; default: 0.001, with fp16, which rounds weights, 0.02"
    parser.add_argument("--atol", type=float, help=differs)
    text = "node_modules folder whose JavaScript packages are copied; default: the page loads them from a CDN"
    parser.add_argument("--libraries", metavar="FOLDER", help=text)
    return parser


def main(argv: list[str] | None = None) -> None:
    """Run the command; a mistake in the arguments ends it with one line and exit status 2."""
    arguments = vars(build_parser().parse_args(argv))
    with one_line(COMMAND):
        from ..export.export import export_model

        output = Path(arguments.pop("output"))
        export_model(arguments.pop("model"), output, **arguments)
    print(f"written to {output}; to open it: python -m http.server --directory {output}")
