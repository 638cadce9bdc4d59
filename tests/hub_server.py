"""
A Hub on this machine: what the client of huggingface_hub and transformers asks of it for models, kept in memory.

Paths, statuses and headers are those that huggingface_hub 1.33 and 2.4 send and expect, without Xet
(`HF_HUB_DISABLE_XET=1`). As on the real one, large files come and go through a storage on another host, by URLs that
need no token.
"""

import base64
import hashlib
import json
import re
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

import yaml

TOKENS = {"hf_write": ("user", "write"), "hf_read": ("user", "read"), "hf_other": ("other", "write")}
ATTRIBUTES = b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n"


@dataclass(frozen=True)
class Blob:
    """Content of a file, and whether it lies in the storage of large files."""

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

    def described(self, path: str) -> dict:
        """As the tree of a repository lists it."""
        entry = {"type": "file", "path": path, "size": len(self.content), "oid": self.git_oid}
        large = {"oid": self.sha256, "size": len(self.content), "pointerSize": 134}
        return {**entry, "lfs": large} if self.is_lfs else entry


@dataclass
class Commit:
    """All files of a repository at one time."""

    oid: str
    files: dict[str, Blob]
    title: str
    parent: str | None
    date: str = field(default_factory=lambda: f"{datetime.now(timezone.utc):%Y-%m-%dT%H:%M:%S.000Z}")


class Repository:
    """Commits, with branches and tags that name them; a new one has an initial commit on `main`."""

    def __init__(self, repo_id: str, private: bool):
        self.repo_id, self.private = repo_id, private
        self.commits, self.branches, self.tags = {}, {}, {}
        self.commit("main", {".gitattributes": Blob(ATTRIBUTES)}, "initial commit")

    def commit(self, branch: str, files: dict[str, Blob], title: str) -> str:
        """Makes `branch` stand at a new commit of `files`; returns its oid."""
        parent = self.branches.get(branch)
        told = [self.repo_id, branch, parent, title, len(self.commits)]
        told += [(path, blob.sha256) for path, blob in sorted(files.items())]
        oid = hashlib.sha1(json.dumps(told).encode()).hexdigest()
        self.commits[oid] = Commit(oid, files, title, parent)
        self.branches[branch] = oid
        return oid

    def find(self, revision: str) -> Commit:
        """The commit of a branch, a tag or an oid; raises `Refusal`."""
        oid = self.branches.get(revision) or self.tags.get(revision) or revision
        if oid not in self.commits:
            raise Refusal(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return self.commits[oid]

    def history(self, revision: str) -> list[Commit]:
        """Commits, the last first."""
        found = [self.find(revision)]
        while found[-1].parent:
            found.append(self.commits[found[-1].parent])
        return found


class Refusal(Exception):
    """An answer with an error, as the Hub gives it: status, message, and the code by which the client knows it."""

    def __init__(self, status: int, message: str, code: str | None = None, **headers: str):
        super().__init__(message)
        self.status, self.message, self.headers = status, message, dict(headers)
        if code:
            self.headers["X-Error-Code"] = code


class HubServer:
    """
    The Hub at `url`; a context manager. `tokens` maps each token to a user and a role, `"read"` or `"write"`.

    `faults` maps a step, such as `"batch"`, `"upload"` or `"commit"`, to faults that are used up by one request each:
    `"drop"` breaks off in the middle of the request, of a GET in the middle of the answer, a number is the status to
    answer with, `"wrong_hash"` damages what is uploaded. `requests` has step, method, path and headers of each.
    """

    def __init__(self, tokens: dict[str, tuple[str, str]] | None = None):
        self.tokens = TOKENS if tokens is None else tokens
        self.repositories: dict[str, Repository] = {}
        self.arrived: dict[str, bytes] = {}  # large files by what they are said to be, not yet verified
        self.stored: dict[str, bytes] = {}  # those that are what they are said to be
        self.faults: dict[str, list] = {}
        self.requests: list[tuple] = []
        self.lock = threading.Lock()
        self._servers = [ThreadingHTTPServer(("127.0.0.1", 0), handler(self, table)) for table in (HUB, STORAGE)]
        # Two names, for a client may follow redirections that stay on one host, whatever the port.
        hosts = ("127.0.0.1", "localhost")
        self.url, self.storage_url = (f"http://{host}:{s.server_port}" for host, s in zip(hosts, self._servers))

    def __enter__(self) -> "HubServer":
        for server in self._servers:
            server.daemon_threads = True
            threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()

    def head(self, repo_id: str, revision: str = "main") -> Commit:
        """The commit at which a repository stands."""
        return self.repositories[repo_id].find(revision)


class Request:
    """What a route is given: the parts of the path, the body, who asks, and the server."""

    def __init__(self, hub: HubServer, http: BaseHTTPRequestHandler, parts: tuple[str, ...], body: bytes):
        self.hub, self.http, self.parts, self.body = hub, http, parts, body
        token = http.headers.get("Authorization", "").removeprefix("Bearer ")
        self.user, self.role = hub.tokens.get(token, (None, None))
        if token and self.user is None:
            message = "Invalid credentials in Authorization header"
            raise Refusal(401, message, **{"X-Error-Message": message})

    @property
    def json(self) -> dict:
        return json.loads(self.body or b"{}")

    def must_write(self, namespace: str) -> None:
        """Refuses who may not write to what belongs to `namespace`."""
        if self.user is None:
            raise Refusal(401, "Invalid username or password.")
        if self.role != "write" or self.user != namespace:
            message = f"You don't have the rights to write to the namespace {namespace!r}"
            raise Refusal(403, message, **{"X-Error-Message": message})

    def repository(self, writes: bool = False) -> Repository:
        """The one that the path names; one that is private is not there for others."""
        repo_id = self.parts[0]
        namespace, found = repo_id.partition("/")[0], self.hub.repositories.get(repo_id)
        if found is None or (found.private and self.user != namespace):
            raise Refusal(401 if self.user is None else 404, "Repository not found", "RepoNotFound")
        if writes:
            self.must_write(namespace)
        return found


def whoami(request: Request):
    if request.user is None:
        raise Refusal(401, "Invalid username or password.")
    token = {"type": "access_token", "accessToken": {"displayName": "test", "role": request.role}}
    return {"type": "user", "id": request.user, "name": request.user, "orgs": [], "auth": token}


def create(request: Request):
    asked = request.json
    namespace = asked.get("organization") or request.user
    repo_id, url = f"{namespace}/{asked['name']}", f"{request.hub.url}/{namespace}/{asked['name']}"
    request.must_write(namespace)
    if repo_id in request.hub.repositories:
        return 409, {"error": "You already created this model repo", "url": url}
    request.hub.repositories[repo_id] = Repository(repo_id, asked.get("visibility") == "private")
    return {"url": url, "id": repo_id, "name": repo_id}


def validate_yaml(request: Request):
    """Stands for the checks of the card's metadata."""
    _, _, rest = request.json["content"].partition("---\n")
    try:
        data = yaml.safe_load(rest.partition("\n---")[0])
        if not isinstance(data, dict):
            raise ValueError("the metadata is no mapping")
    except (yaml.YAMLError, ValueError) as error:
        return 400, {"errors": [{"message": str(error)}], "warnings": []}
    return {"errors": [], "warnings": []}


def model_info(request: Request):
    repository = request.repository()
    commit = repository.find(request.parts[1] if len(request.parts) > 1 else "main")
    facts = {"id": repository.repo_id, "modelId": repository.repo_id, "private": repository.private, "tags": []}
    siblings = [{"rfilename": path} for path in sorted(commit.files)]
    return {**facts, "sha": commit.oid, "siblings": siblings, "lastModified": commit.date, "downloads": 0, "likes": 0}


def tree(request: Request):
    """All files under a folder; the client asks for whole trees alone, or for what has no folders."""
    commit = request.repository().find(request.parts[1])
    prefix = f"{request.parts[2]}/" if len(request.parts) > 2 and request.parts[2] else ""
    found = [blob.described(path) for path, blob in sorted(commit.files.items()) if path.startswith(prefix)]
    if prefix and not found:
        raise Refusal(404, f"{prefix[:-1]} does not exist", "EntryNotFound")
    return found


def refs(request: Request):
    repository = request.repository()

    def listed(kind: str, names: dict) -> list:
        return [{"name": name, "ref": f"refs/{kind}/{name}", "targetCommit": oid} for name, oid in names.items()]

    branches, tags = listed("heads", repository.branches), listed("tags", repository.tags)
    return {"branches": branches, "tags": tags, "converts": []}


def commits(request: Request):
    found = request.repository().history(request.parts[1])
    return [{"id": c.oid, "title": c.title, "message": "", "date": c.date, "authors": []} for c in found]


def preupload(request: Request):
    files = request.repository(writes=True).find(request.parts[1]).files
    answer = []
    for file in request.json["files"]:
        path, sample = file["path"], base64.b64decode(file["sample"])
        mode = "lfs" if path.endswith(".safetensors") or b"\0" in sample or file["size"] > 10e6 else "regular"
        entry = {"path": path, "uploadMode": mode, "shouldIgnore": False}
        answer.append({**entry, "oid": files[path].etag} if path in files else entry)
    return {"files": answer}


def commit(request: Request):
    """All or nothing: the branch moves where every line could be done."""
    repository, branch = request.repository(writes=True), request.parts[1]
    lines = [json.loads(line) for line in request.body.splitlines()]
    header = lines[0]["value"]
    if branch not in repository.branches:
        raise Refusal(404, f"Invalid rev id: {branch}", "RevisionNotFound")
    if header.get("parentCommit", repository.branches[branch]) != repository.branches[branch]:
        raise Refusal(412, "A commit has happened since. Please refresh and try again.")
    files = dict(repository.find(branch).files)
    for line in lines[1:]:
        apply_line(files, line["key"], line["value"], request.hub.stored)
    oid = repository.commit(branch, files, header["summary"])
    url = f"{request.hub.url}/{repository.repo_id}/commit/{oid}"
    return {"success": True, "commitUrl": url, "commitOid": oid, "hookOutput": ""}


def apply_line(files: dict[str, Blob], key: str, value: dict, stored: dict[str, bytes]) -> None:
    """Does what a line of a commit says to `files`."""
    path = value["path"]
    if key == "file":
        files[path] = Blob(base64.b64decode(value["content"]))
    elif key == "lfsFile":
        if value["oid"] not in stored:
            raise Refusal(400, f"LFS pointer of {path} points to an object that does not exist")
        files[path] = Blob(stored[value["oid"]], is_lfs=True)
    elif key == "deletedFile":
        if path not in files:
            raise Refusal(404, "A file with this name doesn't exist", "EntryNotFound")
        del files[path]
    else:
        raise Refusal(400, f"{key} is not known here")


def create_branch(request: Request):
    repository, name = request.repository(writes=True), request.parts[1]
    if name in repository.branches:
        raise Refusal(409, f"Reference {name} already exists")
    repository.branches[name] = repository.find(request.json.get("startingPoint", "main")).oid
    return {}


def create_tag(request: Request):
    repository, name = request.repository(writes=True), request.json["tag"]
    if name in repository.tags:
        raise Refusal(409, f"Tag reference {name} already exists")
    repository.tags[name] = repository.find(request.parts[1]).oid
    return {}


def lfs_batch(request: Request):
    """Where to put each object; one that is there already has no actions."""
    repository, objects = request.repository(writes=True), []
    for asked in request.json["objects"]:
        oid, size = asked["oid"], asked["size"]
        upload = {"href": f"{request.hub.storage_url}/{oid}"}
        verify = {"href": f"{request.hub.url}/{repository.repo_id}.git/info/lfs/verify"}
        is_new = oid not in request.hub.stored
        actions = {"actions": {"upload": upload, "verify": verify}} if is_new else {}
        objects.append({"oid": oid, "size": size, **actions})
    return {"transfer": "basic", "objects": objects}


def lfs_verify(request: Request):
    request.repository(writes=True)
    oid, content = request.json["oid"], request.hub.arrived.get(request.json["oid"], b"")
    if hashlib.sha256(content).hexdigest() != oid or len(content) != request.json["size"]:
        raise Refusal(422, f"The object {oid[:12]} does not match its hash")
    request.hub.stored[oid] = content
    return {}


def storage_put(request: Request):
    request.hub.arrived[request.parts[0]] = request.body
    return {}


def storage_get(request: Request):
    if request.parts[0] not in request.hub.stored:
        raise Refusal(404, f"no object {request.parts[0]}")
    return send_file(request, request.hub.stored[request.parts[0]], {"ETag": f'"{request.parts[0]}"'})


def resolve(request: Request):
    """A file; a large one is a redirection to the storage, with what it links to in headers."""
    commit = request.repository().find(request.parts[1])
    headers = {"X-Repo-Commit": commit.oid}
    if request.parts[2] not in commit.files:
        raise Refusal(404, "Entry not found", "EntryNotFound", **headers)
    blob = commit.files[request.parts[2]]
    if blob.is_lfs:
        headers |= {"X-Linked-Etag": f'"{blob.etag}"', "X-Linked-Size": str(len(blob.content))}
        return respond(request.http, 302, b"", {**headers, "Location": f"{request.hub.storage_url}/{blob.etag}"})
    return send_file(request, blob.content, {**headers, "ETag": f'"{blob.etag}"'})


def send_file(request: Request, content: bytes, headers: dict[str, str]) -> None:
    """All of it, or the bytes of a Range header, 416 where there are none."""
    headers = {**headers, "Accept-Ranges": "bytes", "Content-Type": "application/octet-stream"}
    span, size = re.fullmatch(r"bytes=(\d+)-(\d*)", request.http.headers.get("Range", "")), len(content)
    if span is None:
        return respond(request.http, 200, content, headers)
    start, end = int(span[1]), min(int(span[2] or size - 1), size - 1)
    if start > end:
        return respond(request.http, 416, b"", {**headers, "Content-Range": f"bytes */{size}"})
    return respond(
        request.http, 206, content[start : end + 1], {**headers, "Content-Range": f"bytes {start}-{end}/{size}"}
    )


def respond(http: BaseHTTPRequestHandler, status: int, body: bytes, headers: dict[str, str]) -> None:
    """Sends an answer, of a HEAD request its headers alone, and half of one that is to break off."""
    http.send_response(status)
    for name, value in {**headers, "Content-Length": str(len(body))}.items():
        http.send_header(name, value)
    if http.close_connection and not http.breaks_off:
        http.send_header("Connection", "close")
    http.end_headers()
    if http.command != "HEAD":
        http.wfile.write(body[: len(body) // 2] if http.breaks_off else body)


# Step, methods, path, and the route, which returns an object for JSON, a status and one, or `None`: it has answered.
MODEL = "/api/models/([^/]+/[^/]+)"
HUB = (
    ("whoami", "GET", "/api/whoami-v2", whoami),
    ("create", "POST", "/api/repos/create", create),
    ("validate", "POST", "/api/validate-yaml", validate_yaml),
    ("info", "GET", MODEL, model_info),
    ("info", "GET", f"{MODEL}/revision/([^/]+)", model_info),
    ("tree", "GET", f"{MODEL}/tree/([^/]+)/?(.*)", tree),
    ("refs", "GET", f"{MODEL}/refs", refs),
    ("commits", "GET", f"{MODEL}/commits/([^/]+)", commits),
    ("preupload", "POST", f"{MODEL}/preupload/([^/]+)", preupload),
    ("commit", "POST", f"{MODEL}/commit/([^/]+)", commit),
    ("branch", "POST", f"{MODEL}/branch/([^/]+)", create_branch),
    ("tag", "POST", f"{MODEL}/tag/([^/]+)", create_tag),
    ("batch", "POST", r"/([^/]+/[^/]+)\.git/info/lfs/objects/batch", lfs_batch),
    ("verify", "POST", r"/([^/]+/[^/]+)\.git/info/lfs/verify", lfs_verify),
    ("resolve", "GET HEAD", "/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", resolve),
)
STORAGE = (("upload", "PUT", "/([0-9a-f]{64})", storage_put), ("download", "GET HEAD", "/([0-9a-f]{64})", storage_get))


def handler(hub: HubServer, table: tuple) -> type[BaseHTTPRequestHandler]:
    """Answers by the routes of `table`."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"  # a connection stays open unless the client wants it closed, or it breaks off
        breaks_off = False

        def answer(self) -> None:
            path = urlsplit(self.path).path
            for step, methods, pattern, route in table:
                found = re.fullmatch(pattern, path)
                if found and self.command in methods.split():
                    return self.play(step, route, tuple(map(unquote, found.groups())))
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            return self.send_json(404, {"error": f"no route for {self.command} {path}"})

        do_GET = do_HEAD = do_POST = do_PUT = answer

        def play(self, step: str, route: Callable, parts: tuple[str, ...]) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            hub.requests.append((step, self.command, self.path, headers))
            faults = hub.faults.get(step)
            fault = faults.pop(0) if faults else None
            size = int(self.headers.get("Content-Length", 0))
            self.breaks_off = fault == "drop"
            self.close_connection = self.close_connection or self.breaks_off
            body = self.rfile.read(size // 2 if self.breaks_off else size)
            if self.breaks_off and self.command != "GET":
                return self.connection.shutdown(socket.SHUT_RDWR)
            if fault == "wrong_hash":
                body = bytes([body[0] ^ 1]) + body[1:]
            try:
                if isinstance(fault, int):
                    raise Refusal(fault, f"planted {fault}")
                with hub.lock:
                    answer = route(Request(hub, self, parts, body))
            except Refusal as refusal:
                return self.send_json(refusal.status, {"error": refusal.message}, refusal.headers)
            if answer is None:
                return None
            return self.send_json(*(answer if isinstance(answer, tuple) else (200, answer)))

        def send_json(self, status: int, value, headers: dict[str, str] | None = None) -> None:
            kind = {"Content-Type": "application/json; charset=utf-8"}
            respond(self, status, json.dumps(value).encode(), {**kind, **(headers or {})})

        def log_message(self, *_) -> None:
            pass

    return Handler
