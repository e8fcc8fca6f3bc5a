"""A hub of our own on 127.0.0.1, with a switch for each thing that can go wrong: what the real download code asks."""

import hashlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

LARGE = ("model.safetensors", "pytorch_model.bin")  # as on the hub: stored apart, redirected to, known by sha256


@dataclass
class SmallHub:
    """One repository at one commit, `main`. `cuts`: how many transfers of large files break off in the middle."""

    repo: str
    files: dict[str, bytes]
    endpoint: str = ""
    sha: str = "c0ffee" + "0" * 34
    cuts: int = 0
    ranges: bool = True
    endless: bool = False  # large files come whole, but their end is not said
    pause: float = 0.0  # seconds after each 4096 bytes
    wrong: bool = False  # one byte of a large file is another
    longer: bool = False  # more bytes come than were listed
    missing: tuple[str, ...] = ()  # listed, but not there
    gated: bool = False
    status: int = 0  # answered to every request
    nonsense: bool = False
    tokens: list[tuple[str, str | None]] = field(default_factory=list)  # path and Authorization of each request
    sent: list[str] = field(default_factory=list)  # files sent, one entry a transfer

    def listing(self) -> dict[str, Any]:
        """Return what /api/models/REPO/revision/REV?blobs=true answers."""
        siblings = []
        for name, content in self.files.items():
            git = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
            one: dict[str, Any] = {"rfilename": name, "size": len(content), "blobId": git}
            if name in LARGE:
                sha256 = hashlib.sha256(content).hexdigest()
                one["lfs"] = {"sha256": sha256, "size": len(content), "pointerSize": 130}
            siblings.append(one)
        return {"id": self.repo, "modelId": self.repo, "sha": self.sha, "private": False, "siblings": siblings}


class _Handler(BaseHTTPRequestHandler):
    hub: SmallHub

    def do_GET(self) -> None:
        hub, path = self.hub, unquote(urlsplit(self.path).path)
        hub.tokens.append((path, self.headers.get("Authorization")))
        api, resolve = f"/api/models/{hub.repo}", f"/{hub.repo}/resolve/{hub.sha}/"
        if hub.status:
            self._refuse(hub.status, "")
        elif hub.nonsense:
            self._answer(200, b"<html>a captive portal</html>", {"Content-Type": "text/html"})
        elif path in (api, f"{api}/revision/main", f"{api}/revision/{hub.sha}"):
            self._answer(200, json.dumps(hub.listing()).encode(), {"Content-Type": "application/json"})
        elif path.startswith(f"{api}/revision/"):
            self._refuse(404, "RevisionNotFound")
        elif path.startswith("/stored/"):
            self._send(path.removeprefix("/stored/"))
        elif not path.startswith(resolve):
            self._refuse(404, "RepoNotFound")
        elif hub.gated:
            self._refuse(401, "GatedRepo")
        elif (name := path.removeprefix(resolve)) in hub.missing:
            self._refuse(404, "EntryNotFound")
        elif name in LARGE:  # to another origin, as the hub sends to its store
            port = urlsplit(hub.endpoint).port
            self._answer(302, b"", {"Location": f"http://localhost:{port}/stored/{name}"})
        else:
            self._send(name)

    def _send(self, name: str) -> None:
        hub = self.hub
        hub.sent.append(name)
        content = hub.files[name]
        if name in LARGE and hub.wrong:
            content = content[:-1] + bytes([content[-1] ^ 1])
        if name in LARGE and hub.longer:
            content += b"more"
        asked = self.headers.get("Range")
        begin = int(asked.removeprefix("bytes=").rstrip("-")) if asked and hub.ranges else 0
        rest = content[begin:]
        cut = name in LARGE and hub.cuts > 0
        if cut:
            hub.cuts -= 1
        self.send_response(206 if begin else 200)
        self.send_header("Content-Length", str(len(rest) + (hub.endless and name in LARGE)))
        self.end_headers()
        for at in range(0, len(rest) // 2 if cut else len(rest), 4096):
            self.wfile.write(rest[at : at + 4096])
            time.sleep(hub.pause)
        self.close_connection = True

    def _refuse(self, status: int, code: str) -> None:
        self._answer(status, b"{}", {"X-Error-Code": code, "Content-Type": "application/json"})

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def handle(self) -> None:
        """Answer until the other side hangs up, as it does on a cancel."""
        try:
            super().handle()
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True


@contextmanager
def serving(repo: str, folder: Path) -> Iterator[SmallHub]:
    """Serve a folder's files as a repository until the block ends."""
    hub = SmallHub(repo, {file.name: file.read_bytes() for file in sorted(folder.iterdir())})
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    hub.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
