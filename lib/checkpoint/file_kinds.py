"""What a file that should hold weights is, by its content, and what to do with it."""

from __future__ import annotations

import pickletools
import re
import zipfile
from pathlib import Path

_STARTS: tuple[tuple[bytes, str], ...] = (
    (b"version https://git-lfs", "a git-LFS pointer, not the file itself: fetch it with `git lfs pull`"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file (Keras, TensorFlow): save the weights as a PyTorch state dict of tensors"),
    (b"\x1f\x8b", "compressed by gzip: unpack it first (gunzip, or tar xzf)"),
    (b"BZh", "compressed by bzip2: unpack it first"),
    (b"\xfd7zXZ", "compressed by xz: unpack it first"),
    (b"7z\xbc\xaf", "a 7z archive: unpack it first"),
    (b"Rar!", "a rar archive: unpack it first"),
    (b"\x89PNG", "an image, no weights"),
    (b"\xff\xd8\xff", "an image, no weights"),
    (b"GIF8", "an image, no weights"),
    (b"%PDF", "a PDF document, no weights"),
    (b"L\x00\x00\x00\x01\x14\x02\x00", "a shortcut of Windows: name the file that it points to"),
    (b"\x7fELF", "a program, no weights"),
    (b"MZ", "a program of Windows, no weights"),
    (b"\x93NUMPY", "an array of numpy, no weights by name: save a PyTorch state dict of tensors"),
    (b"GGUF", "a GGUF file (llama.cpp), which holds no detector"),
)
_FAILED = "the download has failed; download it again"


def describe_file(path: Path) -> str | None:
    """What a file is that holds no PyTorch tensors, and what to do; None where it may hold some."""
    with path.open("rb") as file:
        start = file.read(1024)
        if not start:
            return "empty: copy or download it again"
        for magic, kind in _STARTS:
            if start.startswith(magic):
                return kind
        if start[257:262] == b"ustar":
            return _describe_tar(start)
        if meaning := _describe_text(start):
            return meaning
    if start.startswith(b"PK\x03\x04"):
        return _describe_zip(path)
    if start.startswith(b"PK\x05\x06"):
        return "an empty zip archive: copy or download it again"
    if start[:1] == b"\x08" and (b"pytorch" in start or b"onnx" in start or b"ir_version" in start):
        return "an ONNX model: load the weights that it was exported from"
    return None


def _describe_tar(start: bytes) -> str | None:
    name = start[:100].rstrip(b"\0").decode("utf-8", "replace")
    if name.startswith(("sys_info", "pickle", "tensors", "storages")):
        return "a PyTorch file of before version 0.4: save it again with a newer PyTorch"
    return "a tar archive: unpack it first (tar xf), and name a file in it"


def _describe_text(start: bytes) -> str | None:
    text = start.decode("utf-8", "replace").lstrip("\ufeff \t\r\n").lower()
    if re.match(r"<!doctype html|<html|<head|<!--", text):
        return f"a web page, not the file itself: {_FAILED}"
    if re.match(r"<\?xml|<error", text):
        return f"an xml file, as servers send for an error: {_FAILED}"
    if text.startswith("{") and b"\0" not in start:
        return f"a json file, no weights; if it was downloaded: {_FAILED}"
    if re.match(r"(not found|access denied|forbidden|error|404|403)\b", text):
        return f"a message of a server: {_FAILED}"
    if b"\0" not in start and all(31 < byte < 127 or byte in b"\t\r\n" for byte in start):
        return "a text file, no weights"
    return None


def _describe_zip(path: Path) -> str | None:
    """What a zip archive is that is no torch file; None for one that is, or that is damaged."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = [info.filename for info in archive.infolist()]
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return None
    if any(name.endswith("constants.pkl") for name in names):
        return "a TorchScript module: save its weights, torch.save(torch.jit.load(file).state_dict(), 'a.pth')"
    if any(name.endswith("data.pkl") for name in names):
        return None
    if any(name.endswith((".npy", ".npz")) for name in names):
        return "arrays of numpy: save a PyTorch state dict of tensors"
    if any(name.endswith((".keras", "model.weights.h5")) for name in names):
        return "a Keras model: save the weights as a PyTorch state dict of tensors"
    shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
    return f"a zip archive of {shown or 'nothing'}: unpack it first, and name a file in it"


def asked_objects(pickled: bytes, limit: int = 4) -> list[str]:
    """The classes and functions that a pickle asks for beside tensors and plain values, as module.name."""
    found: dict[str, None] = {}
    strings: list[str] = []
    try:
        for opcode, argument, _ in pickletools.genops(pickled):
            if opcode.name == "GLOBAL" and isinstance(argument, str):
                found[argument.replace(" ", ".")] = None
            elif opcode.name == "STACK_GLOBAL" and len(strings) > 1:
                found[".".join(strings[-2:])] = None
            elif isinstance(argument, str):
                strings = [*strings[-1:], argument]
            if len(found) > 1000:
                break
    except (ValueError, IndexError, UnicodeDecodeError):
        pass  # cut off: what was found so far is enough
    known = ("torch._utils._rebuild", "torch.FloatStorage", "torch.LongStorage", "collections.OrderedDict")
    strange = [name for name in found if not name.startswith(known) and not re.fullmatch(r"torch\.\w+Storage", name)]
    return strange[:limit]


def describe_owner(names: list[str]) -> str | None:
    """The program whose objects a pickle asks for, and what to do; None for an unknown one."""
    text = " ".join(names)
    for words, meaning in _OWNERS:
        if re.search(words, text):
            return meaning
    return None


_OWNERS: tuple[tuple[str, str], ...] = (
    (
        r"ultralytics|\bmodels\.(yolo|common)",
        "a whole pickled model of Ultralytics: save its weights there, torch.save(model.model.state_dict(), 'a.pth')",
    ),
    (
        r"mmengine|mmcv|mmdet",
        "a checkpoint of OpenMMLab: save its weights there, torch.save(checkpoint['state_dict'], 'a.pth')",
    ),
    (
        r"lightning|omegaconf",
        "a checkpoint of Lightning: save its weights there, torch.save(checkpoint['state_dict'], 'a.pth')",
    ),
    (
        r"detectron2|fvcore",
        "a checkpoint of Detectron2: save its weights there, torch.save(checkpoint['model'], 'a.pth')",
    ),
    (
        r"numpy\..*(_reconstruct|ndarray|scalar)",
        "a pickle of numpy arrays, as Caffe2's Detectron and Detectron2 write them (.pkl): save them as a PyTorch "
        "state dict of tensors",
    ),
    (
        r"torch\.nn\.|torchvision\.|\bmodel",
        "a whole pickled module: save its weights where its code is, torch.save(model.state_dict(), 'a.pth')",
    ),
)
