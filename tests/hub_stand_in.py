"""A stand-in for the Hugging Face Hub on this machine: what huggingface_hub asks for, and what it sends to push.

Repositories are dicts of files; every request is written down, so that a test can say what was never asked for.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

TOKEN = "hf_stand_in"


class Hub:
    """``repos`` holds for each id its commits, the newest last: ``(sha, {path: content})``; ``asked`` the requests as
    "METHOD path"; while ``down``, every answer is an error 503."""

    def __init__(self):
        self.repos: dict[str, list[tuple[str, dict[str, bytes]]]] = {}
        self.uploads: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.down = False
        self.url = ""

    def commit(self, repo: str, files: dict[str, bytes]) -> str:
        """A new state of a repository; returns its sha."""
        commits = self.repos.setdefault(repo, [])
        sha = hashlib.sha1(repr((repo, len(commits), sorted(files.items()))).encode()).hexdigest()
        commits.append((sha, dict(files)))
        return sha

    def files(self, repo: str, revision: str = "main") -> tuple[str, dict[str, bytes]] | None:
        """Sha and files of a revision; None if there is no such."""
        found = [one for one in self.repos[repo] if revision in ("main", one[0])]
        return found[-1] if found else None

    def fetched(self) -> set[str]:
        """Names of the files whose content was asked for."""
        return {one.rsplit("/", 1)[1] for one in self.asked if one.startswith("GET ") and "/resolve/" in one}


@contextmanager
def hub_stand_in() -> Iterator[Hub]:
    """A `Hub` that answers at ``url`` meanwhile."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_GET(self):
        self._answer_at(self._get)

    do_HEAD = do_GET

    def do_POST(self):
        self._answer_at(self._post)

    def do_PUT(self):
        self._answer_at(self._put)

    def _answer_at(self, answer):
        path = unquote(urlsplit(self.path).path)
        self.hub.asked.append(f"{self.command} {path}")
        self.body = (
            self.rfile.read(int(self.headers.get("Content-Length", 0))) if not self._chunked() else self._chunks()
        )
        return self._fail(503, "") if self.hub.down else answer(path.strip("/").split("/"))

    def _chunked(self) -> bool:
        return self.headers.get("Transfer-Encoding") == "chunked"

    def _chunks(self) -> bytes:
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    # ---- downloads: api/models/USER/NAME[/revision/REV], .../tree/REV, USER/NAME/resolve/REV/FILE ----
    def _get(self, parts: list[str]):
        is_api = parts[:2] == ["api", "models"]
        parts = parts[2:] if is_api else parts
        repo, rest = "/".join(parts[:2]), parts[2:]
        if repo not in self.hub.repos:
            return self._fail(401, "RepoNotFound")  # as of a private one
        found = self.hub.files(repo, rest[1] if len(rest) > 1 else "main")
        if found is None:
            return self._fail(404, "RevisionNotFound")
        sha, files = found
        if not is_api:
            path = "/".join(rest[2:])
            return self._send(files[path], sha, path) if path in files else self._fail(404, "EntryNotFound")
        if rest[:1] == ["tree"]:
            return self._json([self._entry(path, content) for path, content in files.items()])
        return self._json(
            {"id": repo, "modelId": repo, "sha": sha, "siblings": [{"rfilename": path} for path in files]}
        )

    def _entry(self, path: str, content: bytes) -> dict:
        entry = {"type": "file", "path": path, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
        if _is_large(path):
            digest = hashlib.sha256(content).hexdigest()
            entry["lfs"] = {"oid": digest, "size": len(content), "pointerSize": 134}
        return entry

    # ---- pushes ----
    def _post(self, parts: list[str]):
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self._fail(401, "")
        match parts:
            case ["api", "repos", "create"]:
                given = json.loads(self.body)
                repo = f"{given['organization']}/{given['name']}"
                known = repo in self.hub.repos
                if not known:
                    self.hub.commit(repo, {".gitattributes": b"*.safetensors filter=lfs\n"})
                return self._json({"url": f"{self.hub.url}/{repo}", "id": repo}, 409 if known else 200)
            case ["api", "validate-yaml"]:
                return self._json({"errors": [], "warnings": []})
            case ["api", "models", _, _, "preupload", _]:
                paths = [one["path"] for one in json.loads(self.body)["files"]]
                modes = {path: "lfs" if _is_large(path) else "regular" for path in paths}
                told = [{"path": path, "uploadMode": mode, "shouldIgnore": False} for path, mode in modes.items()]
                return self._json({"files": told})
            case [_, _, "info", "lfs", "objects", "batch"]:
                wanted = [
                    {**one, "actions": {"upload": {"href": f"{self.hub.url}/lfs/{one['oid']}"}}}
                    for one in json.loads(self.body)["objects"]
                ]
                return self._json({"transfer": "basic", "objects": wanted})
            case ["api", "models", user, name, "commit", _]:
                return self._committed(f"{user}/{name}", [json.loads(line) for line in self.body.splitlines()])
        return self._fail(404, "")

    def _committed(self, repo: str, lines: list[dict]):
        files = dict(self.hub.files(repo)[1])
        for line in lines:
            key, value = line["key"], line["value"]
            if key == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif key == "lfsFile":
                files[value["path"]] = self.hub.uploads[value["oid"]]
            elif key == "deletedFile":
                del files[value["path"]]
        sha = self.hub.commit(repo, files)
        url = f"{self.hub.url}/{repo}/commit/{sha}"
        return self._json({"success": True, "commitOid": sha, "commitUrl": url})

    def _put(self, parts: list[str]):
        assert parts[0] == "lfs" and hashlib.sha256(self.body).hexdigest() == parts[1]
        self.hub.uploads[parts[1]] = self.body
        return self._json({})

    # ---- answers ----
    def _json(self, value, status: int = 200):
        self._send(json.dumps(value).encode(), status=status)

    def _send(self, content: bytes, sha: str = "", path: str = "", status: int = 200):
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        if sha:
            digest = hashlib.sha256 if _is_large(path) else hashlib.sha1
            self.send_header("X-Repo-Commit", sha)
            self.send_header("ETag", f'"{digest(content).hexdigest()}"')
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _fail(self, status: int, code: str):
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()


def _is_large(path: str) -> bool:
    return path.endswith((".safetensors", ".pkl", ".bin"))
