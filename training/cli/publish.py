"""`storyattn publish`: publish the folder that training leaves on the Hub.

Examples:
    storyattn publish runs/tiny --repo_id user/name --dry_run
    storyattn publish runs/tiny --repo_id user/name --private --tag v1
    storyattn publish runs/tiny --repo_id user/name --collection "Picture stories" --benchmark user/storyworld
"""

import argparse
import shlex
import sys

from ..common.errors import one_line
from ..publishing.hub import MAIN
from ..publishing.publish import interruption_message, publish
from .card import add_fact_arguments


def main(argv: list[str] | None = None) -> None:
    """Run the command; a mistake, or a refusal of the Hub, ends it with one line and exit status 2."""
    parser = argparse.ArgumentParser(prog="storyattn publish", description="Publish a trained model on the Hub.")
    parser.add_argument("folder", help="the output_dir of a run")
    parser.add_argument("--repo_id", required=True, help="where to: user/name; it is made where it is missing")
    parser.add_argument("--private", action="store_true", help="make it a private one, and refuse one that is not")
    parser.add_argument("--revision", default=MAIN, help="branch, made from main where it is missing; default: main")
    parser.add_argument("--tag", help="name that the commit gets as well, such as v1")
    parser.add_argument("--collection", help="title or slug of a collection that gets the model; a new title makes one")
    add_fact_arguments(parser)
    parser.add_argument("--dry_run", action="store_true", help="check, show what would be sent, and stop there")
    argv = sys.argv[1:] if argv is None else list(argv)
    arguments = vars(parser.parse_args(argv))
    folder, repo_id = arguments.pop("folder"), arguments.pop("repo_id")
    changes = {name: arguments.pop(name) for name in ("new_version", "benchmark")}
    changes = {name: value for name, value in changes.items() if value is not None}
    with one_line("storyattn publish"):
        try:
            publish(folder, repo_id, changes=changes, **arguments)
        except KeyboardInterrupt:
            again = shlex.join(["storyattn", "publish", *argv])
            print(f"storyattn publish: {interruption_message(repo_id)}; to try again: {again}", file=sys.stderr)
            raise SystemExit(130) from None
