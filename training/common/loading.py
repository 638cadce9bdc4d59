"""Name what was given where a library cannot load it."""

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .excerpts import quoted

LONGEST_REASON = 300  # characters; libraries may list every file that they have tried
SAYS_NOTHING = "An error occurred while generating the dataset"  # begins errors of `datasets` that hide their cause
FULL_DISK = (errno.ENOSPC, errno.EDQUOT)
NO_ROOM = "No space left on device"  # in errors of Arrow, which have no number
NO_SUCH_NAME = "there is no such folder or file, and the Hub cannot be reached to look for such an id"
NO_HUB_ID = "Repo id must"  # how the Hub's library begins its message for a path
UNREACHABLE = ("couldn't connect", "couldn't reach", "offline", "connection", "max retries", "name resolution")


class FullDiskError(ValueError):
    """A disk is full."""


def one_line_reason(error: BaseException) -> str:
    """Return the message of `error` in one line, cut after 300 characters; the name of its type where it has none.

    An error of `datasets` that only says that something went wrong gives way to its cause.
    """
    while str(error).startswith(SAYS_NOTHING) and error.__cause__ is not None:
        error = error.__cause__
    return " ".join(str(error).split())[:LONGEST_REASON] or type(error).__name__


def is_full_disk(error: BaseException | None) -> bool:
    """Return whether `error`, or an error that it comes from, says that a disk is full."""
    while error is not None:
        if isinstance(error, OSError) and (error.errno in FULL_DISK or NO_ROOM in str(error)):
            return True
        error = error.__cause__ or error.__context__
    return False


@contextmanager
def expecting_room(field: str, folder: str | Path, advice: str) -> Iterator[None]:
    """Turn the error of a full disk into one line that names the folder and the space that is free there.

    Args:
        field: name of the flag or argument.
        folder: the folder that is written to.
        advice: what to do.

    Raises:
        FullDiskError: where the block fails because the disk is full. Other errors pass.
    """
    try:
        yield
    except Exception as error:
        if not is_full_disk(error):
            raise
        free = f"{_free_space(Path(folder).absolute()) / 1e9:.1f} GB free at {quoted(folder)}"
        raise FullDiskError(f"{field}: got a full disk ({free}), expected more; {advice}") from error


def reason_for(name: str, error: BaseException) -> str:
    """Return why `name`, a path or an id of the Hub, could not be loaded: the reason in `error`, in one line.

    Where there is no such path and the Hub cannot be asked, it says that instead: a path may be mistyped.
    """
    reason = one_line_reason(error)
    if Path(name).expanduser().exists():
        return reason
    if reason.startswith(NO_HUB_ID):
        return "there is no such folder or file, and it is no id of the Hub either"
    return NO_SUCH_NAME if any(words in reason.lower() for words in UNREACHABLE) else reason


def _free_space(folder: Path) -> int:
    """Return the free bytes of the disk that has `folder`, or its nearest parent that exists."""
    return shutil.disk_usage(next(path for path in (folder, *folder.parents) if path.exists())).free


@contextmanager
def expecting(
    field: str,
    value: str,
    expected: str,
    *,
    catch: type[Exception] | tuple[type[Exception], ...] = Exception,
    raises: type[Exception] = ValueError,
) -> Iterator[None]:
    """Turn an error of a library into one line: "field: got value, expected ...: reason".

    Args:
        field: name of the flag or argument.
        value: what was given for it.
        expected: what it should have been.
        catch: errors that are turned; by default all, for libraries raise many kinds for a folder of something else.
        raises: type of the error that is raised in their place.

    Raises:
        ValueError: or what `raises` names, where the block raises one of `catch`.
    """
    try:
        yield
    except catch as error:
        raise raises(f"{field}: got {quoted(value)}, expected {expected}: {reason_for(value, error)}") from error
