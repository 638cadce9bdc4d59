"""Publish the folder of a trained model on the Hub: by command, or at the end of a training (`--push_to_hub`)."""

from __future__ import annotations

import re
import shlex
import signal
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from ..common.interruption import Interrupted
from ..common.versions import package_version
from .collection import add_to_collection, check_collection
from .hub import MAIN, Upload, check_private, check_ref, check_repo_id, find_user
from .release import Release
from .release_files import CARD, check_card, check_loads, left_out_line

if TYPE_CHECKING:
    from ..arguments import ModelArguments, TrainingArguments

PIN = re.compile(r'\brevision="([0-9a-f]{40})"')  # of the quick start in a card


def publish(
    folder: str | Path,
    repo_id: str,
    private: bool = False,
    revision: str = MAIN,
    tag: str | None = None,
    dry_run: bool = False,
    changes: dict | None = None,
    collection: str | None = None,
) -> str | None:
    """Check a folder, show what of it is sent, and make a commit of it, which removes all other files of the branch.

    A second commit pins the quick start of a card that nobody has edited to the first one. Of absolute paths in the
    card, in results and in recipes the last part alone is sent.

    Args:
        folder: output folder of a training.
        repo_id: `user/name` of the repository; it is made where it is missing.
        private: make it a private one, and refuse one that is public.
        revision: branch that gets the commits; it is made where it is missing.
        tag: name that the last commit gets as well.
        dry_run: check and show, and use no network.
        changes: facts of the card to change, as in `write_card`.
        collection: slug or title of a collection that gets the repository, see `add_to_collection`.

    Returns:
        The last commit's id, `None` for a dry run.

    Raises:
        ValueError: for what is wrong with the folder or the arguments.
        OSError: where the Hub refuses or cannot be reached, with what the branch then is.
    """
    check_names(repo_id, revision, tag, changes)
    release = Release(Path(folder).expanduser(), repo_id, changes or {})
    with tempfile.TemporaryDirectory(prefix="storyattn-card-") as scratch:
        files = check_release(release, Path(scratch, "first"), collection, dry_run)
        if dry_run:
            print(f"nothing is sent to {repo_id}: a dry run")
            return None
        upload = Upload(repo_id, files, revision, tag, private)
        commit = send_files(upload, release, Path(scratch))
    if collection is not None:
        print(f"in the collection {add_to_collection(collection, repo_id, upload.private)}")
    return commit


def check_names(repo_id: str, revision: str, tag: str | None, changes: dict | None) -> None:
    """Raise `ValueError` for names of repositories, branches and tags that cannot be such."""
    check_repo_id(repo_id)
    check_ref("revision", revision)
    if tag is not None:
        check_ref("tag", tag)
    for name in set(changes or {}) & {"new_version", "benchmark"}:
        check_repo_id(changes[name], name)


def check_release(release: Release, scratch: Path, collection: str | None, dry_run: bool) -> dict[str, Path]:
    """Check and list what is sent; return the path on this machine of each file, by its path in the repository.

    Args:
        release: what is published.
        scratch: folder for copies.
        collection: as in `publish`.
        dry_run: use no network.

    Raises:
        ValueError: as `publish`.
        OSError: where the Hub does not know the token or the collection, or cannot be reached.
    """
    files = release.files(scratch)
    check_card(files)
    if not dry_run:
        find_user()
    check_collection(collection, offline=dry_run)
    check_loads(files)
    print(release.describe(files))
    return files


def send_files(upload: Upload, release: Release, scratch: Path) -> str:
    """Make the commit of all files and the one that pins the card; print where they are and return the last id.

    A card that was pinned stays so until the second commit replaces it: it then loads the release before.

    Args:
        upload: the repository and its branch.
        release: what is published.
        scratch: folder for cards.

    Raises:
        OSError: as `publish`.
    """
    if upload.removed:
        print(f"removed from {upload.branch}: {left_out_line(upload.removed)}")
    print(f"to {upload.repo_id} ({'private' if upload.private else 'public'}), branch {upload.branch}", flush=True)
    pin = PIN.search(upload.read_text(CARD)) if release.has_own_card else None
    if pin is not None:
        upload.files = release.files(scratch / "before", pin[1])
    try:
        commit = upload.send(f"Publish by storyattn {package_version('storyattn')}")
        is_new = commit != upload.parent
        if release.has_own_card and (is_new or pin is None or pin[1] != upload.commit_before()):
            card = release.files(scratch / "pinned", commit)[CARD]
            commit = upload.replace(CARD, card, f"Pin the quick start to {commit[:10]}", commit)
    except OSError:
        print(file=sys.stderr)  # ends the line of a progress bar
        raise
    upload.add_tag(commit)
    outcome = "published" if commit != upload.parent else "nothing has changed since"
    print(f"{outcome}: {upload.url(commit)}{f', tag {upload.tag}' if upload.tag else ''}")
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
