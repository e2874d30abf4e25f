"""Whatever file stands in the place of weights: it is named, nothing in it runs, and nothing unfolds."""

from __future__ import annotations

import gzip
import io
import pickle
import subprocess
import sys
import tarfile
import time
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from fpt.checkpoint.backbone_weights import load_backbone_weights
from fpt.checkpoint.checkpoint import Checkpoint, load_checkpoint, load_weights
from fpt.checkpoint.safe_load import safe_torch_load
from fpt.utils.errors import UserError

pytestmark = pytest.mark.filterwarnings("ignore")


def _zip(**parts: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in parts.items():
            archive.writestr(name.replace("__", "/").replace("_dot_", "."), data)
    return file.getvalue()


def _tar() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("weights.txt"))
    return file.getvalue()


def _torch(content: Any) -> bytes:
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


def _script() -> bytes:
    file = io.BytesIO()
    torch.jit.save(torch.jit.script(nn.ReLU()), file)
    return file.getvalue()


def _pickle_of(module: str, name: str) -> bytes:
    """A pickle that asks for an object of a package that is not here."""
    return b"\x80\x02c" + module.encode() + b"\n" + name.encode() + b"\n)\x81q\x00."


FILES: dict[str, tuple[Callable[[], bytes], str]] = {
    "web page": (lambda: b"<!DOCTYPE html><html></html>", "a web page, not the file itself: the download has failed"),
    "xml": (lambda: b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "an xml file, as servers send"),
    "json": (lambda: b'{"message": "Not Found"}', "a json file, no weights"),
    "message": (lambda: b"Not Found", "a message of a server: the download has failed"),
    "text": (lambda: b"hello\nthere\n", "a text file, no weights"),
    "git-LFS": (lambda: b"version https://git-lfs.github.com/spec/v1\noid", "a git-LFS pointer.*`git lfs pull`"),
    "HDF5": (lambda: b"\x89HDF\r\n\x1a\n" + b"\0" * 99, r"an HDF5 file \(Keras"),
    "TorchScript": (_script, "a TorchScript module"),
    "ONNX": (lambda: b"\x08\x07\x12\x07pytorch\x1a\x03" + b"\0" * 99, "an ONNX model"),
    "gzip": (lambda: gzip.compress(b"x"), "compressed by gzip"),
    "tar": (_tar, "a tar archive: unpack it first"),
    "zip": (lambda: _zip(a_dot_pth=b"x"), "a zip archive of a.pth: unpack it first"),
    "npz": (lambda: _zip(w_dot_npy=b"x"), "arrays of numpy"),
    "npy": (lambda: b"\x93NUMPY\x01\x00" + b"\0" * 99, "an array of numpy"),
    "Keras": (lambda: _zip(model_dot_weights_dot_h5=b"x"), "a Keras model"),
    "image": (lambda: b"\x89PNG\r\n\x1a\n" + b"\0" * 99, "an image, no weights"),
    "PDF": (lambda: b"%PDF-1.7\n\xff\xff" + b"\0" * 99, "a PDF document"),
    "shortcut": (lambda: b"L\x00\x00\x00\x01\x14\x02\x00" + b"\0" * 99, "a shortcut of Windows"),
    "7z": (lambda: b"7z\xbc\xaf\x27\x1c" + b"\0" * 99, "a 7z archive"),
    "empty": (lambda: b"", "is empty: copy or download it again"),
    "cut off": (lambda: _torch({"a": torch.rand(5000)})[:9000], r"cannot be read \(9000 bytes\): it is truncated"),
    "whole module": (lambda: _torch(nn.Sequential(nn.Linear(2, 2))), r"asks for torch\.nn.*a whole pickled module"),
    "Ultralytics": (
        lambda: _pickle_of("ultralytics.nn.tasks", "DetectionModel"),
        r"asks for ultralytics\.nn\.tasks\.DetectionModel.*a whole pickled model of Ultralytics",
    ),
    "OpenMMLab": (lambda: _pickle_of("mmengine.logging", "HistoryBuffer"), "a checkpoint of OpenMMLab: save its"),
    "Lightning": (lambda: _pickle_of("pytorch_lightning.utilities", "AttributeDict"), "a checkpoint of Lightning"),
    "Detectron2": (lambda: _pickle_of("detectron2.structures", "Boxes"), "a checkpoint of Detectron2: save its"),
    "own class": (lambda: _pickle_of("train", "Net"), r"it asks for train\.Net, which is neither"),
}


@pytest.mark.parametrize("name", FILES)
def test_files_of_other_kinds_are_named(tmp_path: Path, name: str) -> None:
    make, message = FILES[name]
    path = tmp_path / "a.pth"
    path.write_bytes(make())
    for load in (safe_torch_load, load_checkpoint, lambda path: load_backbone_weights(nn.Linear(2, 2), path)):
        with pytest.raises(UserError, match=message) as error:
            load(path)
        assert str(path) in str(error.value)
        assert "\n" not in str(error.value)


FOREIGN = {
    "Lightning": ({"pytorch-lightning_version": "2.0", "state_dict": {}}, "but a checkpoint of Lightning"),
    "OpenMMLab": ({"meta": {}, "state_dict": {}}, "but a checkpoint of OpenMMLab"),
    "Lightning, filled": (
        {"pytorch-lightning_version": "2.0", "state_dict": {"w": torch.ones(1)}},
        "no checkpoint of this program .* but a checkpoint of Lightning",
    ),
    "state dict": (
        {"w": torch.ones(1)},
        "or of one that it reads: it holds w; weights of a backbone alone belong into",
    ),
    "list": ([1, 2], "holds no tensors by name; expected the state dict of a model or of its backbone"),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_checkpoints_of_other_programs_are_named(tmp_path: Path, name: str) -> None:
    content, message = FOREIGN[name]
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(UserError, match=message):
        load_checkpoint(tmp_path / "a.pth")


@pytest.mark.parametrize("prefix", ["module.", "model.", "backbone.", "trunk.", "encoder.", "module.model.backbone."])
@pytest.mark.parametrize("wrapper", [None, "state_dict", "model"])
def test_a_prefix_before_all_names_is_left_out(tmp_path: Path, prefix: str, wrapper: str | None, caplog) -> None:
    caplog.set_level("INFO", "fpt")
    source, target = nn.Sequential(nn.Linear(2, 3)), nn.Sequential(nn.Linear(2, 3))
    weights = {prefix + name: value for name, value in source.state_dict().items()}
    torch.save(weights if wrapper is None else {wrapper: weights}, tmp_path / "a.pth")
    load_backbone_weights(target, tmp_path / "a.pth")
    assert torch.equal(target[0].weight, source[0].weight)
    assert f"the names of the weights stand behind {prefix!r}" in caplog.text
    other = nn.Sequential(nn.Linear(2, 3))
    load_weights(other, Checkpoint(model=weights, classes=["a"], config="", step=1), source="a.pth")
    assert torch.equal(other[0].weight, source[0].weight)


def _bomb_compressed() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", pickle.dumps({}))
        with archive.open("a/data/0", "w") as part:
            for _ in range(64):
                part.write(bytes(1 << 20))
    return file.getvalue()


def _bomb_that_lies() -> bytes:
    """A directory that says that a part has 2 GB, compressed."""
    data = bytearray(_bomb_compressed())
    place = data.rindex(b"PK\x01\x02")
    data[place + 24 : place + 28] = (2**31).to_bytes(4, "little")
    return bytes(data)


def _bomb_expanded() -> bytes:
    return _torch({"w": torch.ones(1).expand(40_000, 40_000)})


def _bomb_of_views() -> bytes:
    base = torch.ones(1 << 20)
    return _torch({f"w{i}": base for i in range(200)})


def _bomb_bytearray() -> bytes:
    return b"\x80\x02cbuiltins\nbytearray\nJ\xff\xff\xff\x7f\x85R."


def _bomb_nested() -> bytes:
    return b"\x80\x02" + b"]" * 200_000 + b"a" * 199_999 + b"."


def _bomb_of_references() -> bytes:
    inner: list[Any] = [1]
    for _ in range(60):
        inner = [inner, inner]
    return _torch({"a": inner})


def _storage_that_lies() -> bytes:
    """A tensor that says that it has more numbers than its storage."""
    data = _torch(OrderedDict(w=torch.ones(300)))
    return data.replace(b"M,\x01", b"M\xff\xff")


BOMBS = {
    "compressed": (_bomb_compressed, "would unfold to|is compressed"),
    "lies": (_bomb_that_lies, "would unfold to|is compressed"),
    "expanded": (_bomb_expanded, "would unfold to 6400000000 bytes, but the file holds 4"),
    "views": (_bomb_of_views, "its tensors would unfold to"),
    "bytearray": (_bomb_bytearray, "asks for a bytearray"),
    "nested": (_bomb_nested, "cannot be read|refused"),
    "storage": (_storage_that_lies, "cannot be read|refused"),
}

PROGRAM = """\
import re, resource, sys, time
from pathlib import Path
from fpt.checkpoint.safe_load import safe_torch_load
from fpt.utils.errors import UserError
def peak():  # what getrusage says of a child begins with its parent's
    status = Path("/proc/self/status")
    found = re.search(r"VmHWM:\\s+(\\d+) kB", status.read_text()) if status.is_file() else None
    return int(found[1]) if found else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
before = peak()
start = time.perf_counter()
try:
    safe_torch_load(sys.argv[1])
    message = "read"
except UserError as error:
    message = str(error)
print(time.perf_counter() - start)
print((peak() - before) / 1024)
print(message)
"""


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_do_not_unfold(tmp_path: Path, name: str) -> None:
    make, message = BOMBS[name]
    path = tmp_path / "a.pth"
    path.write_bytes(make())
    with pytest.raises(UserError, match=message):
        safe_torch_load(path)


def test_bombs_take_little_time_and_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    path.write_bytes(_bomb_that_lies())
    command = [sys.executable, "-c", PROGRAM, str(path)]
    seconds, mebibytes, message = subprocess.run(
        command, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert "refused" in message
    assert float(seconds) < 1
    assert float(mebibytes) < 100


def test_references_to_one_list_are_no_bomb(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    path.write_bytes(_bomb_of_references())
    start = time.perf_counter()
    safe_torch_load(path)
    assert time.perf_counter() - start < 2


@pytest.mark.parametrize(
    "make", [lambda: torch.eye(3).to_sparse(), lambda: torch.quantize_per_tensor(torch.ones(2), 1, 0, torch.qint8)]
)
def test_tensors_that_are_not_plain_are_named(tmp_path: Path, make: Callable[[], torch.Tensor]) -> None:
    torch.save({"w": make()}, tmp_path / "a.pth")
    with pytest.raises(UserError, match="holds a .* tensor|refused|cannot be read"):
        safe_torch_load(tmp_path / "a.pth")
