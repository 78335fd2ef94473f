"""Downloads of models, from a server on this machine that answers as the hub does."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from dreamframe import InvalidParamsError, IoError, ModelNotFoundError, models
from dreamframe.errors import CancelledError

COMMIT = "0123456789abcdef0123456789abcdef01234567"
WEIGHTS = bytes(range(256)) * 1200
CONFIG = b'{"_class_name": "AutoencoderTiny"}'
FILES = {"config.json": CONFIG, "diffusion_pytorch_model.safetensors": WEIGHTS}
LIMIT = 60.0


class Hub(ThreadingHTTPServer):
    """Repositories of the same two files."""

    daemon_threads = True

    def __init__(self) -> None:
        self.repositories = ["org/tiny"]
        self.ranges: list[str | None] = []
        self.pause_at: int | None = None
        """Bytes of the weights after which it waits for `resume`."""
        self.resume = threading.Event()
        super().__init__(("127.0.0.1", 0), Answer)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Answer(BaseHTTPRequestHandler):
    server: Hub

    def do_GET(self) -> None:
        listing = re.fullmatch(r"/api/models/(\w+/\w+)/revision/main", self.path)
        file = re.fullmatch(rf"/(\w+/\w+)/resolve/{COMMIT}/(.+)", self.path)
        if listing and listing[1] in self.server.repositories:
            names = [{"rfilename": name} for name in FILES]
            self.answer(200, json.dumps({"sha": COMMIT, "siblings": names}).encode())
        elif file and file[1] in self.server.repositories and file[2] in FILES:
            self.file(file[2])
        else:
            self.answer(404, b"")

    do_HEAD = do_GET  # noqa: N815

    def file(self, name: str) -> None:
        data = FILES[name]
        headers = {"ETag": f'"{hashlib.sha256(data).hexdigest()}"', "X-Linked-Size": str(len(data))}
        headers["X-Linked-ETag"] = headers["ETag"]
        first, status = 0, 200
        asked = self.headers.get("Range")
        if name != "config.json" and self.command == "GET":
            self.server.ranges.append(asked)
        if asked:
            first, status = int(asked.removeprefix("bytes=").removesuffix("-")), 206
            headers["Content-Range"] = f"bytes {first}-{len(data) - 1}/{len(data)}"
        self.answer(status, data[first:], headers, pause_at=self.server.pause_at if name != "config.json" else None)

    def answer(self, status: int, body: bytes, headers: Any = None, pause_at: int | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        try:
            self.wfile.write(body[:pause_at])
            self.wfile.flush()
            if pause_at is not None:
                self.server.resume.wait(LIMIT)
                self.wfile.write(body[pause_at:])
        except OSError:
            pass  # The client has left.

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    with Hub() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
        for name in ("HF_HUB_OFFLINE", "HF_TOKEN", "HF_HOME", "TRANSFORMERS_OFFLINE"):
            monkeypatch.delenv(name, raising=False)
        yield server
        server.resume.set()
        server.shutdown()
        thread.join(LIMIT)


def test_model_is_downloaded_into_the_cache_of_the_hub(hub: Hub, tmp_path: Path) -> None:
    path = models.fetch("org/tiny")
    assert path == tmp_path / "models--org--tiny" / "snapshots" / COMMIT
    assert {file.name: file.read_bytes() for file in path.iterdir()} == FILES
    assert models.fetch("org/tiny") == path
    assert hub.ranges == [None], "a complete file is kept"


def test_a_single_file_is_named_by_its_path(hub: Hub) -> None:
    path = models.fetch("org/tiny/diffusion_pytorch_model.safetensors")
    assert path.read_bytes() == WEIGHTS
    assert not path.with_name("config.json").exists()


def test_progress_counts_the_bytes_of_all_files(hub: Hub) -> None:
    seen: list[tuple[str, str, int, int]] = []
    models.fetch("org/tiny", progress=lambda *report: seen.append(report))
    total = len(CONFIG) + len(WEIGHTS)
    assert seen[-1] == ("org/tiny", "diffusion_pytorch_model.safetensors", total, total)
    assert [done for *_, done, _ in seen] == sorted(done for *_, done, _ in seen)


def test_progress_is_written_where_it_was_asked_for(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    models.fetch("org/tiny", progress=True)
    written = capsys.readouterr().err
    assert written.endswith("org/tiny: 100 % of 0.3 MB, diffusion_pytorch_model.safetensors\n")
    models.fetch("org/tiny", progress=False)
    models.fetch("org/tiny")
    assert capsys.readouterr().err == "", "nobody watches the output of a test"


def test_exception_of_progress_cancels_the_download_and_a_later_one_continues(hub: Hub) -> None:
    hub.pause_at = 200_000

    def cancel(model: str, file: str, done: int, total: int) -> None:
        if done >= 100_000:
            hub.resume.set()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        models.fetch("org/tiny", progress=cancel)
    hub.pause_at = None
    path = models.fetch("org/tiny")
    assert (path / "diffusion_pytorch_model.safetensors").read_bytes() == WEIGHTS
    first, second = hub.ranges
    assert first is None
    assert second is not None
    assert int(second.removeprefix("bytes=").removesuffix("-")) >= 100_000


def test_progress_has_to_be_callable(hub: Hub) -> None:
    with pytest.raises(TypeError, match="progress: got 5, expected a callable"):
        models.fetch("org/tiny", progress=5)  # type: ignore[arg-type]
    assert hub.ranges == []


def test_failures_raise_by_their_kind(hub: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="org/none"):
        models.fetch("org/none")
    with pytest.raises(ValueError, match="model id"):
        models.fetch("../x")
    file = tmp_path / "file"
    file.touch()
    monkeypatch.setenv("HF_HUB_CACHE", str(file))
    with pytest.raises(IoError, match="file"):
        models.fetch("org/tiny")


def test_models_of_parameters_are_downloaded_and_a_failure_does_not_stop_the_others(hub: Hub) -> None:
    hub.repositories.append("org/net")
    params = {
        "model_id": "demo",
        "lora_dict": {"org/none": 1.0},
        "controlnets": [{"model_id": "org/net"}, {"model_id": "org/missing"}],
    }
    lora, net, missing = models.fetch_for(params)
    assert (lora.field, lora.id, lora.path) == ("lora_dict", "org/none", None)
    assert isinstance(lora.error, ModelNotFoundError)
    assert (net.field, net.id, net.error) == ("controlnets[0].model_id", "org/net", None)
    assert net.path is not None
    assert (net.path / "config.json").read_bytes() == CONFIG
    assert (missing.field, missing.path, missing.optional) == ("controlnets[1].model_id", None, False)


def test_cancelled_download_of_parameters_ends_all(hub: Hub) -> None:
    def cancel(*_: Any) -> None:
        raise CancelledError("enough")

    with pytest.raises(CancelledError, match="enough"):
        models.fetch_for({"model_id": "demo", "controlnets": [{"model_id": "org/tiny"}]}, progress=cancel)


def test_parameters_are_checked_first(hub: Hub) -> None:
    with pytest.raises(InvalidParamsError, match="delta"):
        models.fetch_for({"delta": -1})
