"""Downloads against a local server: whole, cut off, gone on, refused; and the table of files."""

from __future__ import annotations

import hashlib
import http.server
import importlib.util
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from fpt.utils.own_files import recorded

CONTENT = bytes(range(256)) * 4000
ROOT = Path(__file__).resolve().parents[2]


def load_tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("download_weights", ROOT / "tools" / "download_weights.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["download_weights"] = module
    spec.loader.exec_module(module)
    return module


tool = load_tool()


class Server(http.server.ThreadingHTTPServer):
    """Serves CONTENT; notes the ranges that are asked for."""

    knows_ranges = True
    sends = len(CONTENT)

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.ranges: list[str | None] = []


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:  # noqa: N802
        wanted = self.headers.get("Range")
        self.server.ranges.append(wanted)
        if "gone" in self.path:
            self.send_error(404)
            return
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and self.server.knows_ranges else 0
        if start >= len(CONTENT):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        self.wfile.write(CONTENT[start : self.server.sends])

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


@pytest.fixture(autouse=True)
def _without_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server is on this machine, whatever the environment says of others."""
    monkeypatch.setenv("no_proxy", "*")


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def file(server: Server) -> Any:
    url = f"http://127.0.0.1:{server.server_port}/a.pth"
    digest = hashlib.sha256(CONTENT).hexdigest()
    return tool.WeightFile("a.pth", "a test", url, len(CONTENT), digest, "the test")


def test_a_file_is_fetched_checked_and_not_fetched_again(server: Server, file: Any, tmp_path: Path) -> None:
    path = tool.download(file, tmp_path / "w")
    assert path.read_bytes() == CONTENT
    assert tool.download(file, tmp_path / "w") == path
    assert server.ranges == [None]
    assert [entry.name for entry in (tmp_path / "w").glob("[!.]*")] == ["a.pth"]


@pytest.mark.parametrize("is_size_known", [True, False])
def test_a_download_that_was_cut_off_goes_on(server: Server, file: Any, tmp_path: Path, is_size_known: bool) -> None:
    if not is_size_known:
        file = replace(file, size=None, sha256=file.sha256[:8])
    server.sends = 300_000
    with pytest.raises(tool.DownloadError, match="start again to go on"):
        tool.download(file, tmp_path)
    assert 0 < (tmp_path / "a.pth.part").stat().st_size <= 300_000
    assert not (tmp_path / "a.pth").exists()
    server.sends = len(CONTENT)
    assert tool.download(file, tmp_path).read_bytes() == CONTENT
    assert server.ranges[1] is not None


def test_a_server_without_ranges_starts_anew(server: Server, file: Any, tmp_path: Path) -> None:
    server.knows_ranges = False
    with recorded(tmp_path / "a.pth.part"):
        (tmp_path / "a.pth.part").write_bytes(b"x" * 1000)
    assert tool.download(file, tmp_path).read_bytes() == CONTENT


def test_a_complete_part_is_only_checked(server: Server, file: Any, tmp_path: Path) -> None:
    with recorded(tmp_path / "a.pth.part"):
        (tmp_path / "a.pth.part").write_bytes(CONTENT)
    assert tool.download(file, tmp_path).read_bytes() == CONTENT


def test_a_part_of_another_program_is_left_alone(file: Any, tmp_path: Path) -> None:
    (tmp_path / "a.pth.part").write_bytes(b"a browser's")
    with pytest.raises(tool.DownloadError, match="a.pth.part would be written over, but was not written by this"):
        tool.download(file, tmp_path)
    assert (tmp_path / "a.pth.part").read_bytes() == b"a browser's"


def test_a_wrong_checksum_removes_what_came(file: Any, tmp_path: Path) -> None:
    with pytest.raises(tool.DownloadError, match="is not a.pth: the test; .* SHA-256 00000000.*start again"):
        tool.download(replace(file, sha256="00000000"), tmp_path)
    assert not list(tmp_path.glob("[!.]*"))
    tool.download(replace(file, sha256=file.sha256[:8], size=None), tmp_path)  # the beginning is enough


def test_another_file_of_that_name_is_left_alone(file: Any, tmp_path: Path) -> None:
    (tmp_path / "a.pth").write_bytes(b"mine")
    with pytest.raises(tool.DownloadError, match="is there, but is not"):
        tool.download(file, tmp_path)
    assert (tmp_path / "a.pth").read_bytes() == b"mine"


def test_what_cannot_be_had_is_named(
    server: Server, file: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    away = f"http://127.0.0.1:{server.server_port}/gone"
    monkeypatch.setitem(tool.FILES, "a.pth", replace(file, url=away))
    assert tool.main(["a.pth", "resnet50_caffe.pth", "--output_dir", str(tmp_path)]) == 1
    shown = capsys.readouterr().err
    assert f"{away}: HTTP Error 404" in shown
    assert "resnet50_caffe.pth has no stable address" in shown
    monkeypatch.setitem(tool.FILES, "a.pth", replace(file, url="http://127.0.0.1:9/a"))
    assert tool.main(["a.pth", "--output_dir", str(tmp_path)]) == 1
    assert "refused" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        tool.main(["b.pth"])
    assert "unknown b.pth; there are mobilenet_v2" in capsys.readouterr().err


def test_the_page_and_the_yaml_files_know_the_same_files(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = (root / "data" / "README.md").read_text(encoding="utf-8")
    for file in tool.FILES.values():
        assert f"| `{file.name}` | {file.size or 'not known'} | {file.sha256 or 'not known'} |" in page
        assert file.source.split(",")[0] in page
    named = set()
    for path in (root / "configs").rglob("*.yaml"):
        weights = yaml.safe_load(path.read_text()).get("RESNETS", {}).get("IMAGENET_PRETRAINED_WEIGHTS", "")
        named |= {Path(weights).name} if weights else set()
    assert named <= set(tool.FILES)
    assert tool.main([]) == 0
    assert capsys.readouterr().out.count("\n") == len(tool.FILES)


def test_addresses_are_torchvisions() -> None:
    from torchvision.models import MobileNet_V2_Weights, ResNet50_Weights, ResNet101_Weights

    expected = {weights.IMAGENET1K_V1.url for weights in (MobileNet_V2_Weights, ResNet50_Weights, ResNet101_Weights)}
    assert {file.url for file in tool.FILES.values() if file.url} == expected


def test_the_real_file_is_the_one_of_the_table(shared_weights: Path) -> None:
    assert tool.is_right(shared_weights / "mobilenet_v2-b0353104.pth", tool.FILES["mobilenet_v2-b0353104.pth"])
