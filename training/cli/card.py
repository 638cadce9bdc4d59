"""`storyattn card`: write the model card of a published folder again, from its results.json and its other files.

Examples:
    storyattn card checkpoints/storyattn-tiny
    storyattn card runs/tiny --repo_id user/name --license cc-by-4.0
    storyattn card runs/tiny --new_version user/name-2
"""

import argparse

from ..arguments import LICENSE_NAME
from ..common.errors import one_line
from ..publishing.hub import check_repo_id
from ..publishing.model_card import write_card


def main(argv: list[str] | None = None) -> None:
    """Run the command; a mistake in the arguments ends it with one line and exit status 2."""
    parser = argparse.ArgumentParser(prog="storyattn card", description="Write the model card of a folder again.")
    parser.add_argument("folder", help="folder that training wrote, with config.json and results.json")
    parser.add_argument("--repo_id", default=None, help="user/name on the Hub, which the quick start then loads")
    parser.add_argument(
        "--license", default=None, help="license of the weights as the Hub calls it; default: unchanged"
    )
    add_fact_arguments(parser)
    arguments = vars(parser.parse_args(argv))
    folder, repo_id = arguments.pop("folder"), arguments.pop("repo_id")
    with one_line("storyattn card"):
        if repo_id is not None:
            check_repo_id(repo_id)
        if arguments["license"] is not None and not LICENSE_NAME.fullmatch(arguments["license"]):
            raise ValueError(f"license: got {arguments['license']!r}, expected a name such as mit or cc-by-4.0")
        for name in ("new_version", "benchmark"):
            if arguments[name] is not None:
                check_repo_id(arguments[name], name)
        changes = {name: value for name, value in arguments.items() if value is not None}
        path = write_card(folder, repo_id, changes)
    print(f"written to {path}")


def add_fact_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of a card that `storyattn publish` has as well."""
    parser.add_argument("--new_version", help="user/name of the model that replaces this one; the Hub links it")
    parser.add_argument(
        "--benchmark", help="user/name of the data set of the results on the Hub, where it was not loaded from there"
    )
