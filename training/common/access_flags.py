"""Let a data set read more than its own files, by flags that are the same in every command."""

import argparse

ACCESS_FLAGS = {  # help
    "allow_remote_frames": "fetch frames that are addresses on the network",
    "allow_local_paths": "read frames that are files outside of the data set's folder",
}


def add_access_flags(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """Add `--allow_remote_frames` and `--allow_local_paths` to a parser, or to a topic of its help."""
    for name, text in ACCESS_FLAGS.items():
        parser.add_argument(f"--{name}", action="store_true", help=text)


def access_of(flags: object) -> dict[str, bool]:
    """Return the values of these flags, which are attributes of `flags`, by name."""
    return {name: getattr(flags, name) for name in ACCESS_FLAGS}
