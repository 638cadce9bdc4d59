"""Routes of the test Hub: what each request of the client is answered.

A route takes a `Request` and returns an object for JSON, or a status and one, or `None` where it has answered itself.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING

import yaml
from hub_repositories import Blob, Refusal, Repository

if TYPE_CHECKING:
    from hub_server import HubServer


class Request:
    """Request as a route gets it: the parts of the path, the body, the user, and the server."""

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
        """Refuse users that may not write to repositories of `namespace`."""
        if self.user is None:
            raise Refusal(401, "Invalid username or password.")
        if self.role != "write" or self.user != namespace:
            message = f"You don't have the rights to write to the namespace {namespace!r}"
            raise Refusal(403, message, **{"X-Error-Message": message})

    def repository(self, writes: bool = False) -> Repository:
        """Return the repository that the path names; a private one does not exist for others."""
        repo_id = self.parts[0]
        namespace, repository = repo_id.partition("/")[0], self.hub.repositories.get(repo_id)
        if repository is None or (repository.private and self.user != namespace):
            raise Refusal(401 if self.user is None else 404, "Repository not found", "RepoNotFound")
        if writes:
            self.must_write(namespace)
        return repository


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
    """Check the metadata of a card; a stand-in for the checks of the real Hub."""
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
    """List all files under a folder; the client asks for whole trees, or for folders without folders."""
    commit = request.repository().find(request.parts[1])
    prefix = f"{request.parts[2]}/" if len(request.parts) > 2 and request.parts[2] else ""
    entries = [blob.tree_entry(path) for path, blob in sorted(commit.files.items()) if path.startswith(prefix)]
    if prefix and not entries:
        raise Refusal(404, f"{prefix[:-1]} does not exist", "EntryNotFound")
    return entries


def refs(request: Request):
    repository = request.repository()

    def listed(kind: str, names: dict) -> list:
        return [{"name": name, "ref": f"refs/{kind}/{name}", "targetCommit": oid} for name, oid in names.items()]

    branches, tags = listed("heads", repository.branches), listed("tags", repository.tags)
    return {"branches": branches, "tags": tags, "converts": []}


def commits(request: Request):
    history = request.repository().history(request.parts[1])
    return [{"id": c.oid, "title": c.title, "message": "", "date": c.date, "authors": []} for c in history]


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
    """Make a commit as a whole or not at all: the branch moves where every line could be applied."""
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
    """Apply a line of a commit to `files`."""
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
        raise Refusal(400, f"unknown key {key}")


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


def create_collection(request: Request):
    """Make an empty collection; one of the same title and owner is a conflict that names its slug."""
    title, owner = request.json["title"], request.json["namespace"]
    request.must_write(owner)
    slug = f"{owner}/{re.sub('[^a-z0-9]+', '-', title.lower())}-{hashlib.sha1(title.encode()).hexdigest()[:24]}"
    if slug in request.hub.collections:
        return 409, {"error": "This collection already exists", "slug": slug}
    facts = {"title": title, "owner": {"name": owner}, "private": request.json["private"], "theme": "blue"}
    facts |= {"lastUpdated": "2026-01-01T00:00:00.000Z", "position": 0, "upvotes": 0, "items": []}
    request.hub.collections[slug] = {"slug": slug, **facts}
    return request.hub.collections[slug]


def collection(request: Request):
    if request.parts[0] not in request.hub.collections:
        raise Refusal(404, "Collection not found")
    return request.hub.collections[request.parts[0]]


def add_item(request: Request):
    """Add a repository that exists to a collection, once."""
    found, item = collection(request), request.json["item"]
    request.must_write(found["slug"].partition("/")[0])
    if item["id"] not in request.hub.repositories:
        raise Refusal(404, "Repository not found", "RepoNotFound")
    if item in [{"id": one["id"], "type": one["type"]} for one in found["items"]]:
        raise Refusal(409, "Item already in collection")
    found["items"].append({"_id": str(len(found["items"])), "position": len(found["items"]), **item})
    return found


def lfs_batch(request: Request):
    """Say where to put each object; one that is stored has no actions."""
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
    """Send a file; a large one is a redirection to the storage, with its hash and size in headers."""
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
    """Send all of a file, or the bytes of a Range header; status 416 where it has no such bytes."""
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
    """Send an answer: to a HEAD request its headers alone, and half of one that is to break off."""
    http.send_response(status)
    for name, value in {**headers, "Content-Length": str(len(body))}.items():
        http.send_header(name, value)
    if http.close_connection and not http.breaks_off:
        http.send_header("Connection", "close")
    http.end_headers()
    if http.command != "HEAD":
        http.wfile.write(body[: len(body) // 2] if http.breaks_off else body)


# Step, methods, path and route.
MODEL = "/api/(?:models|datasets)/([^/]+/[^/]+)"
NAME = "/(?:datasets/)?([^/]+/[^/]+)"
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
    ("batch", "POST", rf"{NAME}\.git/info/lfs/objects/batch", lfs_batch),
    ("verify", "POST", rf"{NAME}\.git/info/lfs/verify", lfs_verify),
    ("resolve", "GET HEAD", f"{NAME}/resolve/([^/]+)/(.+)", resolve),
    ("collection", "POST", "/api/collections", create_collection),
    ("collection", "GET", "/api/collections/([^/]+/[^/]+)", collection),
    ("item", "POST", "/api/collections/([^/]+/[^/]+)/items", add_item),
)
STORAGE = (("upload", "PUT", "/([0-9a-f]{64})", storage_put), ("download", "GET HEAD", "/([0-9a-f]{64})", storage_get))
