"""The Hub: names of repositories and branches, the user of the token, and files sent as one commit."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, get_token
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    HTTPError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)
from huggingface_hub.utils import validate_repo_id

from ..common.loading import one_line_reason

MAIN = "main"
HUB_FILES = (".gitattributes",)  # written by the Hub itself, never removed
TOKENS = "https://huggingface.co/settings/tokens"
# What git refuses in the name of a branch or tag (git check-ref-format), and a dash in front.
BAD_REF = re.compile(r"[\s~^:?*\[\\\x00-\x1f\x7f]|\.\.|@\{|//|/\.|\.lock(/|$)|^[-./]|[./]$|^@?$")


def check_repo_id(repo_id: str, field: str = "repo_id") -> str:
    """Return `repo_id`.

    Raises:
        ValueError: naming the flag `field`, where it cannot be the id of a repository, `user/name`.
    """
    if repo_id.count("/") != 1:
        raise ValueError(f"{field}: got {repo_id!r}, expected user/name")
    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise ValueError(
            f"{field}: got {repo_id!r}, expected user/name of letters, digits, '-', '_' and '.'"
        ) from error
    return repo_id


def check_ref(kind: str, name: str) -> str:
    """Return `name`.

    Raises:
        ValueError: naming the flag `kind`, where `name` cannot be that of a branch or tag.
    """
    if BAD_REF.search(name):
        raise ValueError(f"{kind}: got {name!r}, expected a name that git takes, such as v1 or try/two")
    return name


def check_private(repo_id: str, repo_type: str = "model") -> None:
    """Refuse a repository that is public; one that is missing is fine.

    Raises:
        ValueError: where it is public.
        OSError: where the Hub refuses or cannot be reached.
    """
    with one_reason(repo_id):
        try:
            is_private = bool(HfApi().repo_info(repo_id, repo_type=repo_type).private)
        except RepositoryNotFoundError:
            is_private = True
    _expect_private(repo_id, is_private)


def find_user(repo_id: str | None = None) -> str:
    """Return the name of the token's user on the Hub.

    Args:
        repo_id: `user/name` or `organization/name` of the repository that will be written to, if it is known.

    Raises:
        ValueError: where there is no token, or one that may only read, and for a repository of somebody else.
        OSError: where the Hub does not know the token or cannot be reached.
    """
    if get_token() is None:
        raise ValueError(f"token: got none, expected one that may write, by `hf auth login` or in HF_TOKEN: {TOKENS}")
    with one_reason("the Hub"):
        account = HfApi().whoami()
    if account.get("auth", {}).get("accessToken", {}).get("role") == "read":
        raise ValueError(f"token: got one of {account['name']} that may only read, expected one that may write")
    owner, slash, _ = (repo_id or "").partition("/")
    owners = [account["name"], *(organization["name"] for organization in account.get("orgs", []))]
    if slash and owner not in owners:
        raise ValueError(f"repo_id: got {repo_id!r}, expected a repository of {' or '.join(owners)}, whose token it is")
    return account["name"]


class Upload:
    """Prepare a commit after which `branch` of `repo_id` holds `files` and nothing else.

    A repository and a branch that are missing are made at once. `removed` lists the files that the branch has and
    `files` has not, `parent` is the commit at which the branch stands.

    Args:
        repo_id: `user/name` of the repository.
        files: path on this machine of each file, by its path in the repository.
        branch: branch that gets the commit.
        tag: name that `add_tag` will give to a commit.
        private: make the repository a private one, and refuse one that is public.
        repo_type: `"model"` or `"dataset"`.

    Raises:
        ValueError: where the repository is public and should be private, where `branch` is a tag, and where `tag`
            exists.
        OSError: with the reason in one line, where the Hub refuses.
    """

    def __init__(
        self,
        repo_id: str,
        files: dict[str, Path],
        branch: str = MAIN,
        tag: str | None = None,
        private: bool = False,
        repo_type: str = "model",
    ):
        self.api, self.repo_id, self.files, self.branch, self.tag = HfApi(), repo_id, files, branch, tag
        self.repo = {"repo_id": repo_id, "repo_type": repo_type}
        with one_reason(repo_id):
            self.api.create_repo(**self.repo, private=private or None, exist_ok=True)
            self.private = bool(self.api.repo_info(**self.repo).private)
            refs = self.api.list_repo_refs(**self.repo)
        if private:
            _expect_private(repo_id, self.private)
        tags = {ref.name: ref.target_commit for ref in refs.tags}
        if branch in tags:
            raise ValueError(f"revision: got the tag {branch!r}, expected a branch")
        if tag in tags:
            raise ValueError(f"tag: got {tag!r}, which commit {tags[tag][:10]} has, expected a new one")
        with one_reason(repo_id):
            if branch not in [ref.name for ref in refs.branches]:
                self.api.create_branch(**self.repo, branch=branch)
            info = self.api.repo_info(**self.repo, revision=branch)
        self.parent = info.sha
        self.names = [sibling.rfilename for sibling in info.siblings]
        self.removed = [name for name in self.names if name not in files and name not in HUB_FILES]

    def read_text(self, name: str) -> str:
        """Return a text file as the branch has it before the commit; empty where it has none."""
        if name not in self.names:
            return ""
        with one_reason(self.repo_id):
            path = self.api.hf_hub_download(**self.repo, filename=name, revision=self.parent)
        return Path(path).read_text(encoding="utf-8", errors="replace")

    def commit_before(self) -> str | None:
        """Return the commit before `parent`, `None` where that is the first one."""
        with one_reason(self.repo_id):
            history = self.api.list_repo_commits(**self.repo, revision=self.parent)
        return history[1].commit_id if len(history) > 1 else None

    def send(self, message: str) -> str:
        """Upload the files and make the commit; return its id.

        Where nothing has changed that is the id of the last commit. Until the commit is made, which happens as a whole
        or not at all, the branch stays as it was. What has been uploaded is not uploaded again by a second try.

        Raises:
            OSError: with the reason in one line.
        """
        # Not `upload_folder`: with `hf_xet` it may split a large folder into several commits, it reads one folder where
        # these files are in two, and it deletes by patterns where these are names.
        removals = [CommitOperationDelete(path_in_repo=name, is_folder=False) for name in self.removed]
        return self._commit(self.files, removals, message, self.parent, f"{self.branch} stays as it was")

    def replace(self, name: str, path: Path, message: str, commit: str) -> str:
        """Replace one file after `send`, which has made `commit`, by a commit of its own; return its id.

        Raises:
            OSError: with the reason in one line.
        """
        outcome = f"{self.branch} has the commit {commit[:10]}, whose {name} is not up to date"
        return self._commit({name: path}, [], message, commit, outcome)

    def add_tag(self, commit: str) -> None:
        """Give `commit` the tag, if there is to be one.

        Raises:
            OSError: with the reason in one line.
        """
        if self.tag is not None:
            outcome = f"; {self.branch} has the commit {commit[:10]}, the tag {self.tag!r} is missing: run it again"
            with one_reason(self.repo_id, outcome):
                self.api.create_tag(**self.repo, tag=self.tag, revision=commit)

    def _commit(self, files: dict[str, Path], removals: list, message: str, parent: str, outcome: str) -> str:
        """Make a commit of `files` and `removals` on top of `parent`; return its id, after an error say `outcome`."""
        added = [CommitOperationAdd(path_in_repo=name, path_or_fileobj=path) for name, path in files.items()]
        options = {"commit_message": message, "revision": self.branch, "parent_commit": parent}
        with one_reason(self.repo_id, f"; {outcome}, and the command can be run again"):
            return self.api.create_commit(**self.repo, operations=[*added, *removals], **options).oid

    def url(self, commit: str) -> str:
        """Return the address of `commit`."""
        folder = "datasets/" if self.repo["repo_type"] == "dataset" else ""
        return f"{self.api.endpoint}/{folder}{self.repo_id}/commit/{commit}"


def _expect_private(repo_id: str, is_private: bool) -> None:
    if not is_private:
        raise ValueError(f"private: got the public repository {repo_id}, expected a private one")


@contextmanager
def one_reason(name: str, outcome: str = "") -> Iterator[None]:
    """Turn what the client raises in calls about `name` into an `OSError` of one line, which ends with `outcome`."""
    try:
        yield
    except (HTTPError, OSError, ValueError, RuntimeError) as error:
        raise OSError(f"{_reason(error, name)}{outcome}") from error


def _reason(error: Exception, name: str) -> str:
    while isinstance(error, RuntimeError) and isinstance(error.__cause__, Exception):
        error = error.__cause__  # the client names the file that could not be sent; the reason is in the cause
    if isinstance(error, OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE: got it set, expected it unset to publish"
    if isinstance(error, HfHubHTTPError):
        return _status_reason(error, name)
    if isinstance(error, HTTPError):
        return f"network: {HfApi().endpoint} cannot be reached, or broke off: {one_line_reason(error)}"
    return f"{name}: {one_line_reason(error)}"


def _status_reason(error: HfHubHTTPError, name: str) -> str:
    """Return what a status of the Hub means."""
    status, message = error.response.status_code, " ".join((error.server_message or "").split())
    if status == 403:
        return f"token: got one without the right to write to {name}, expected one with it: {message}"
    if isinstance(error, RepositoryNotFoundError):
        return f"repo_id: got {name}, expected a repository that exists and that the token may see"
    if status == 401:
        return f"token: got one that the Hub does not know, expected one of {TOKENS}"
    if status == 412:
        return f"{name}: another commit came in between: {message}"
    if status == 429:
        return f"{name}: the Hub has had too many requests (429), try again later"
    first_line = re.sub(r"\s+", " ", str(error).strip().splitlines()[0])
    return f"{name}: the Hub answers with status {status}: {message or first_line}"
