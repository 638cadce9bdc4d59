"""`--push_to_hub`: a run that publishes its model at the end."""

import shlex
import signal
from pathlib import Path

from .hub import check_repo_id, find_user
from .interruption import Interrupted
from .publish_cli import broken_off, publish


def hub_repository(model_args, args) -> str | None:
    """
    Where the model of a run goes on the Hub, `None` where it stays here.

    Raises `ValueError` or `OSError`, before training, for a baseline, which has no code to load it by, for a name that
    cannot be, and where no token that may write is at hand.
    """
    if not args.push_to_hub:
        return None
    if model_args.baseline:
        raise ValueError(f"push_to_hub: found the baseline {model_args.baseline!r}, expected the model")
    name = args.hub_model_id or Path(args.output_dir).resolve().name
    user = find_user()
    return check_repo_id(name if "/" in name else f"{user}/{name}")


def push_to_hub(args, repo_id: str) -> None:
    """
    Publishes the folder of a run that has ended. The `OSError` of a failure, and the `Interrupted` of a control-C, tell
    how to do that later.
    """
    private = " --private" if args.hub_private_repo else ""
    later = f"storyattn publish {shlex.quote(args.output_dir)} --repo_id {repo_id}{private}"
    try:
        publish(args.output_dir, repo_id, private=args.hub_private_repo)
    except (ValueError, OSError) as error:
        raise OSError(f"push_to_hub: the model is trained but not published: {error}; by hand: {later}") from error
    except KeyboardInterrupt:
        told = f"push_to_hub: the model is trained, publishing it was {broken_off(repo_id)}; to try again: {later}"
        raise Interrupted(signal.SIGINT, told) from None
