"""Publish the folder of a trained model on the Hub: by command, or at the end of a training (`--push_to_hub`)."""

from __future__ import annotations

import shlex
import signal
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm.auto import tqdm

from ..common.interruption import Interrupted
from ..common.versions import package_version
from .hub import MAIN, Upload, check_private, check_ref, check_repo_id, find_user
from .local_paths import shorten_local_paths
from .model_card import make_card, read_results
from .release_files import CARD, RESULTS, check_card, check_loads, left_out_line, published_files

if TYPE_CHECKING:
    from ..arguments import ModelArguments, TrainingArguments


def publish(
    folder: str | Path,
    repo_id: str,
    private: bool = False,
    revision: str = MAIN,
    tag: str | None = None,
    dry_run: bool = False,
) -> str | None:
    """Check a folder, show what of it is sent, and make one commit of it, which removes all other files of the branch.

    The quick start of a card that nobody has edited loads `repo_id`. Of absolute paths in the card, in results and in
    recipes the last part alone is sent.

    Args:
        folder: output folder of a training.
        repo_id: `user/name` of the repository; it is made where it is missing.
        private: make it a private one, and refuse one that is public.
        revision: branch that gets the commit; it is made where it is missing.
        tag: name that the commit gets as well.
        dry_run: check and show, and use no network.

    Returns:
        The commit's id, `None` for a dry run.

    Raises:
        ValueError: for what is wrong with the folder or the arguments.
        OSError: where the Hub refuses or cannot be reached; the branch is then as it was.
    """
    check_repo_id(repo_id)
    check_ref("revision", revision)
    if tag is not None:
        check_ref("tag", tag)
    folder = Path(folder).expanduser()
    files, left_out = published_files(folder)
    with tempfile.TemporaryDirectory(prefix="storyattn-card-") as scratch:
        adapt_to_hub(files, folder, repo_id, Path(scratch))
        check_card(files)
        if not dry_run:
            find_user()
        check_loads(files)
        print(describe_files(files, left_out))
        if dry_run:
            print(f"nothing is sent to {repo_id}: a dry run")
            return None
        return send_files(files, repo_id, private, revision, tag)


def adapt_to_hub(files: dict[str, Path], folder: Path, repo_id: str, scratch: Path) -> None:
    """Replace the card, and files with paths of this machine, by copies in `scratch` that fit the Hub.

    Args:
        files: path on this machine of each published file, by its name; changed in place.
        folder: published folder.
        repo_id: `user/name` of the repository.
        scratch: folder for the copies.
    """
    files[CARD] = card_for_hub(folder, repo_id, scratch) or files[CARD]
    if paths := shorten_local_paths(files, scratch):
        print(f"local paths are sent as their last part: {', '.join(sorted(paths))}")


def card_for_hub(folder: Path, repo_id: str, scratch: Path) -> Path | None:
    """Write the card of `folder` with a quick start that loads `repo_id`.

    Args:
        folder: published folder with its card.
        repo_id: `user/name` of the repository.
        scratch: folder for the card.

    Returns:
        The card in `scratch`; `None` where the one in `folder` is not as `write_card` writes it, for somebody has
        edited it.
    """
    if not (folder / RESULTS).is_file() or "facts" not in read_results(folder):
        return None
    if (folder / CARD).read_text(encoding="utf-8") != str(make_card(folder)):
        return None
    make_card(folder, repo_id).save(scratch / CARD)
    return scratch / CARD


def describe_files(files: dict[str, Path], left_out: list[str]) -> str:
    """Return a list of what is sent, with sizes, and a line of what is not."""
    sizes = {name: path.stat().st_size for name, path in files.items()}
    width = max(map(len, sizes))
    lines = [f"  {name:{width}}  {tqdm.format_sizeof(size, 'B'):>7}" for name, size in sizes.items()]
    lines.append(f"{len(files)} files, {tqdm.format_sizeof(sum(sizes.values()), 'B')}")
    if left_out:
        lines.append(f"left out: {left_out_line(left_out)}")
    return "\n".join(lines)


def send_files(files: dict[str, Path], repo_id: str, private: bool, revision: str, tag: str | None) -> str:
    """Send `files` as one commit and print where it is; return its id. Arguments and errors are those of `publish`."""
    upload = Upload(repo_id, files, revision, tag, private)
    if upload.removed:
        print(f"removed from {revision}: {left_out_line(upload.removed)}")
    print(f"to {repo_id} ({'private' if upload.private else 'public'}), branch {revision}", flush=True)
    try:
        commit = upload.send(f"Publish by storyattn {package_version('storyattn')}")
    except OSError:
        print(file=sys.stderr)  # ends the line of a progress bar
        raise
    outcome = "published" if commit != upload.parent else "nothing has changed since"
    print(f"{outcome}: {upload.url(commit)}{f', tag {tag}' if tag else ''}")
    return commit


def interruption_message(repo_id: str) -> str:
    """Return what holds after a control-C in `publish`, wherever it came."""
    return f"broken off; {repo_id} has all of the commit or nothing of it"


def hub_repository(model_args: ModelArguments, args: TrainingArguments) -> str | None:
    """Return the repository that a run publishes its model in, `None` where it does not publish.

    Raises:
        ValueError: before training, for a baseline, which has no code to load it by, for a name that cannot be a
            repository's, without a token that may write there, and for a public one with `hub_private_repo`.
        OSError: where the Hub does not know the token or cannot be reached.
    """
    if not args.push_to_hub:
        return None
    if model_args.baseline:
        raise ValueError(f"push_to_hub: got the baseline {model_args.baseline!r}, expected the model")
    name = args.hub_model_id or Path(args.output_dir).resolve().name
    user = find_user(name)
    repo_id = check_repo_id(name if "/" in name else f"{user}/{name}")
    if args.hub_private_repo:
        check_private(repo_id)
    return repo_id


def push_to_hub(args: TrainingArguments, repo_id: str) -> None:
    """Publish the output folder of a run that has ended.

    Raises:
        OSError: where that fails, with the command that does it later.
        Interrupted: at a control-C, with the same command.
    """
    private = " --private" if args.hub_private_repo else ""
    command = f"storyattn publish {shlex.quote(args.output_dir)} --repo_id {repo_id}{private}"
    try:
        publish(args.output_dir, repo_id, private=args.hub_private_repo)
    except (ValueError, OSError) as error:
        raise OSError(f"push_to_hub: the model is trained but not published: {error}; by hand: {command}") from error
    except KeyboardInterrupt:
        outcome = f"the model is trained, publishing it was {interruption_message(repo_id)}"
        raise Interrupted(signal.SIGINT, f"push_to_hub: {outcome}; to try again: {command}") from None
