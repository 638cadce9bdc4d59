"""The Hub: names on it, who one is there, and a folder sent to it as one commit."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, get_token
from huggingface_hub.errors import HfHubHTTPError, HTTPError, OfflineModeIsEnabled, RepositoryNotFoundError
from huggingface_hub.utils import validate_repo_id

MAIN = "main"
KEPT = (".gitattributes",)  # the Hub's own files in a repository
TOKENS = "https://huggingface.co/settings/tokens"
# What git refuses in the name of a branch or tag (git check-ref-format), and a dash in front.
BAD_REF = re.compile(r"[\s~^:?*\[\\\x00-\x1f\x7f]|\.\.|@\{|//|/\.|\.lock(/|$)|^[-./]|[./]$|^@?$")


def check_repo_id(repo_id: str) -> str:
    """Returns it; raises `ValueError` where it cannot be the id of a repository, `user/name`."""
    if repo_id.count("/") != 1:
        raise ValueError(f"repo_id: found {repo_id!r}, expected user/name")
    validate_repo_id(repo_id)
    return repo_id


def check_ref(kind: str, name: str) -> str:
    """Returns it; raises `ValueError` where `name` cannot be that of a branch or tag. `kind` is what the flag is."""
    if BAD_REF.search(name):
        raise ValueError(f"{kind}: found {name!r}, expected a name that git takes, such as v1 or try/two")
    return name


def find_user() -> str:
    """
    The name on the Hub of whose token is at hand.

    Raises `ValueError` where there is no token, or one that is known to read alone, and `OSError` where the Hub does
    not know it or cannot be reached.
    """
    if get_token() is None:
        raise ValueError(f"token: found none, expected one that may write, by `hf auth login` or in HF_TOKEN: {TOKENS}")
    with one_reason("the Hub"):
        account = HfApi().whoami()
    if account.get("auth", {}).get("accessToken", {}).get("role") == "read":
        raise ValueError(f"token: found one of {account['name']} that may only read, expected one that may write")
    return account["name"]


class Upload:
    """
    A commit to come: `files` (path in the repository to path here) become all that `branch` of `repo_id` holds. Making
    it makes the repository and the branch where they are missing.

    `removed` are the files that the branch has and `files` has not. Raises `ValueError` where a public repository is
    there and a private one is asked for, where `branch` is a tag, and where `tag` is taken; `OSError`, with the reason
    in one line, where the Hub refuses.
    """

    def __init__(self, repo_id: str, files: dict[str, Path], branch: str = MAIN, tag: str | None = None, private=False):
        self.api, self.repo_id, self.files, self.branch, self.tag = HfApi(), repo_id, files, branch, tag
        with one_reason(repo_id):
            self.api.create_repo(repo_id, private=private or None, exist_ok=True)
            self.private = bool(self.api.model_info(repo_id).private)
            refs = self.api.list_repo_refs(repo_id)
        if private and not self.private:
            raise ValueError(f"private: found the public repository {repo_id}, expected a private one")
        tags = {ref.name: ref.target_commit for ref in refs.tags}
        if branch in tags:
            raise ValueError(f"revision: found the tag {branch!r}, expected a branch")
        if tag in tags:
            raise ValueError(f"tag: found {tag!r} at commit {tags[tag][:10]} already, expected a new one")
        with one_reason(repo_id):
            if branch not in [ref.name for ref in refs.branches]:
                self.api.create_branch(repo_id, branch=branch)
            info = self.api.model_info(repo_id, revision=branch)
        self.parent = info.sha
        kept = {*files, *KEPT}
        self.removed = [sibling.rfilename for sibling in info.siblings if sibling.rfilename not in kept]

    def send(self, message: str) -> str:
        """
        Uploads, makes the commit and the tag; returns the commit's id, that of the last one where nothing has changed.

        Raises `OSError`, with the reason in one line. Before the commit, which is whole or not made, the branch stays
        as it was, and what has been uploaded need not be so again.
        """
        operations = [
            *(CommitOperationAdd(path_in_repo=name, path_or_fileobj=path) for name, path in self.files.items()),
            *(CommitOperationDelete(path_in_repo=name, is_folder=False) for name in self.removed),
        ]
        with one_reason(self.repo_id, f"; {self.branch} stays as it was, and the command can be run again"):
            commit = self.api.create_commit(
                self.repo_id, operations, commit_message=message, revision=self.branch, parent_commit=self.parent
            )
        if self.tag is not None:
            told = f"; {self.branch} has the commit {commit.oid[:10]}, the tag {self.tag!r} is missing: run it again"
            with one_reason(self.repo_id, told):
                self.api.create_tag(self.repo_id, tag=self.tag, revision=commit.oid)
        return commit.oid

    def url(self, commit: str) -> str:
        """Where `commit` is to be seen."""
        return f"{self.api.endpoint}/{self.repo_id}/commit/{commit}"


@contextmanager
def one_reason(name: str, stands: str = "") -> Iterator[None]:
    """What the client raises in a call about `name` becomes an `OSError` of one line, and says how things stand."""
    try:
        yield
    except (HTTPError, OSError, ValueError, RuntimeError) as error:
        raise OSError(f"{_reason(error, name)}{stands}") from error


def _reason(error: Exception, name: str) -> str:
    while isinstance(error, RuntimeError) and isinstance(error.__cause__, Exception):
        error = error.__cause__  # the client names the file that could not be sent, and has the reason there
    if isinstance(error, OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE: found it set, expected it unset to publish"
    if isinstance(error, HfHubHTTPError):
        return _answer(error, name)
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, HTTPError):
        return f"network: {HfApi().endpoint} cannot be reached, or broke off: {text}"
    return f"{name}: {text}"


def _answer(error: HfHubHTTPError, name: str) -> str:
    """What a status of the Hub means."""
    status, told = error.response.status_code, " ".join((error.server_message or "").split())
    if status == 403:
        return f"token: found one without the right to write to {name}, expected one with it: {told}"
    if isinstance(error, RepositoryNotFoundError):
        return f"repo_id: found no repository {name}, or none that this token may see"
    if status == 401:
        return f"token: found one that the Hub does not know, expected one of {TOKENS}"
    if status == 412:
        return f"{name}: another commit came in between: {told}"
    if status == 429:
        return f"{name}: the Hub has had too many requests (429), try again later"
    first = re.sub(r"\s+", " ", str(error).strip().splitlines()[0])
    return f"{name}: the Hub answers with status {status}: {told or first}"
