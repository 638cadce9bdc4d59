"""Repositories of the test Hub, kept in memory: files, commits, branches and tags."""

import hashlib
import json
from dataclasses import dataclass, field
from datetime import datetime, timezone

ATTRIBUTES = b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n"


class Refusal(Exception):
    """Error answer of the Hub: status, message, and the code by which the client tells errors of one status apart."""

    def __init__(self, status: int, message: str, code: str | None = None, **headers: str):
        super().__init__(message)
        self.status, self.message, self.headers = status, message, dict(headers)
        if code:
            self.headers["X-Error-Code"] = code


@dataclass(frozen=True)
class Blob:
    """Content of a file, and whether it is in the storage of large files."""

    content: bytes
    is_lfs: bool = False

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    @property
    def git_oid(self) -> str:
        return hashlib.sha1(b"blob %d\0" % len(self.content) + self.content).hexdigest()

    @property
    def etag(self) -> str:
        return self.sha256 if self.is_lfs else self.git_oid

    def tree_entry(self, path: str) -> dict:
        """Return the entry of the file in the tree of a repository."""
        entry = {"type": "file", "path": path, "size": len(self.content), "oid": self.git_oid}
        large = {"oid": self.sha256, "size": len(self.content), "pointerSize": 134}
        return {**entry, "lfs": large} if self.is_lfs else entry


@dataclass
class Commit:
    """State of all files of a repository."""

    oid: str
    files: dict[str, Blob]
    title: str
    parent: str | None
    date: str = field(default_factory=lambda: f"{datetime.now(timezone.utc):%Y-%m-%dT%H:%M:%S.000Z}")


class Repository:
    """Commits, with branches and tags that name them; a new repository has an initial commit on `main`."""

    def __init__(self, repo_id: str, private: bool):
        self.repo_id, self.private = repo_id, private
        self.commits, self.branches, self.tags = {}, {}, {}
        self.commit("main", {".gitattributes": Blob(ATTRIBUTES)}, "initial commit")

    def commit(self, branch: str, files: dict[str, Blob], title: str) -> str:
        """Make a new commit of `files`, move `branch` to it, and return its oid."""
        parent = self.branches.get(branch)
        content = [self.repo_id, branch, parent, title, len(self.commits)]
        content += [(path, blob.sha256) for path, blob in sorted(files.items())]
        oid = hashlib.sha1(json.dumps(content).encode()).hexdigest()
        self.commits[oid] = Commit(oid, files, title, parent)
        self.branches[branch] = oid
        return oid

    def find(self, revision: str) -> Commit:
        """Return the commit of a branch, a tag or an oid; raise `Refusal` where there is none."""
        oid = self.branches.get(revision) or self.tags.get(revision) or revision
        if oid not in self.commits:
            raise Refusal(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return self.commits[oid]

    def history(self, revision: str) -> list[Commit]:
        """Return the commits up to `revision`, the last one first."""
        commits = [self.find(revision)]
        while commits[-1].parent:
            commits.append(self.commits[commits[-1].parent])
        return commits
