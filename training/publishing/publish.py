"""`--push_to_hub`: a run that publishes its model at the end."""

import shlex
import signal
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

from tqdm.auto import tqdm

from ..common.interruption import Interrupted
from .hub import MAIN, Upload, check_ref, check_repo_id, find_user
from .local_paths import shorten_local_paths
from .model_card import make_card, read_results
from .release_files import CARD, RESULTS, check_card, check_loads, left_out_line, published_files


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


def broken_off(repo_id: str) -> str:
    """How things stand after a control-C in `publish`, wherever it came."""
    return f"broken off; {repo_id} has all of the commit or nothing of it"


def publish(
    folder: str | Path,
    repo_id: str,
    private: bool = False,
    revision: str = MAIN,
    tag: str | None = None,
    dry_run: bool = False,
) -> str | None:
    """
    Checks `folder`, shows what of it is sent, and makes one commit of it on the branch `revision` of `repo_id`, named
    `tag` where that is given. Files that the branch has and the folder has not are removed by the same commit.

    The quick start of a card that nobody has edited loads `repo_id`. Of absolute paths in the card, in results and in
    recipes the last part alone is sent.

    Returns the commit's id, `None` for a dry run, which asks nothing of the network. Raises `ValueError` for what is
    wrong with folder or arguments, and `OSError` where the Hub refuses or cannot be reached; the branch is then as it
    was.
    """
    check_repo_id(repo_id)
    check_ref("revision", revision)
    if tag is not None:
        check_ref("tag", tag)
    folder = Path(folder).expanduser()
    files, left_out = published_files(folder)
    with tempfile.TemporaryDirectory(prefix="storyattn-card-") as scratch:
        files[CARD] = card_for(folder, repo_id, Path(scratch)) or files[CARD]
        short = shorten_local_paths(files, Path(scratch))
        if short:
            print(f"local paths are sent as their last part: {', '.join(sorted(short))}")
        return send(files, left_out, repo_id, private, revision, tag, dry_run)


def card_for(folder: Path, repo_id: str, scratch: Path) -> Path | None:
    """
    The card of `folder` with a quick start that loads `repo_id`, as a file in `scratch`; `None` where the card is not
    as `write_card` leaves it, since somebody has written in it.
    """
    if not (folder / RESULTS).is_file() or "facts" not in read_results(folder):
        return None
    if (folder / CARD).read_text(encoding="utf-8") != str(make_card(folder)):
        return None
    make_card(folder, repo_id).save(scratch / CARD)
    return scratch / CARD


def send(files, left_out, repo_id: str, private: bool, revision: str, tag: str | None, dry_run: bool) -> str | None:
    """Checks, shows and sends `files`, see `publish`."""
    check_card(files)
    if not dry_run:
        find_user()
    check_loads(files)
    print(describe(files, left_out))
    if dry_run:
        print(f"nothing is sent to {repo_id}: a dry run")
        return None
    upload = Upload(repo_id, files, revision, tag, private)
    if upload.removed:
        print(f"removed from {revision}: {left_out_line(upload.removed)}")
    print(f"to {repo_id} ({'private' if upload.private else 'public'}), branch {revision}", flush=True)
    try:
        commit = upload.send(f"Publish by storyattn {version('storyattn')}")
    except OSError:
        print(file=sys.stderr)  # ends the line of a progress bar
        raise
    told = "published" if commit != upload.parent else "nothing has changed since"
    print(f"{told}: {upload.url(commit)}{f', tag {tag}' if tag else ''}")
    return commit


def describe(files: dict[str, Path], left_out: list[str]) -> str:
    """What is sent and how large, and what is not."""
    sizes = {name: path.stat().st_size for name, path in files.items()}
    width = max(map(len, sizes))
    lines = [f"  {name:{width}}  {tqdm.format_sizeof(size, 'B'):>7}" for name, size in sizes.items()]
    lines.append(f"{len(files)} files, {tqdm.format_sizeof(sum(sizes.values()), 'B')}")
    if left_out:
        lines.append(f"left out: {left_out_line(left_out)}")
    return "\n".join(lines)
