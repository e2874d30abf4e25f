"""Downloads ImageNet weights into data/pretrained_model and checks them; an interrupted download goes on.

python tools/download_weights.py                              # what there is
python tools/download_weights.py mobilenet_v2-b0353104.pth    # one or more of them
"""

from __future__ import annotations

import argparse
import hashlib
import http.client
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fpt.utils.errors import UserError
from fpt.utils.own_files import claim_outputs, note_outputs, recorded

_BLOCK = 1 << 20
_TIMEOUT = 30.0


@dataclass(frozen=True)
class WeightFile:
    """A file of weights.

    Attributes:
        name: of the file.
        use: who needs it.
        url: where it is downloaded from; None where there is no stable address.
        size: bytes; None where we have not measured it.
        sha256: hexadecimal, whole or its beginning, as torchvision has it in its file names; empty if unknown.
        source: who has made it.
    """

    name: str
    use: str
    url: str | None
    size: int | None
    sha256: str
    source: str


_TORCHVISION = "https://download.pytorch.org/models/"
_CAFFE = "MSRA's caffe model, converted; folder linked in github.com/ruotianluo/pytorch-resnet"

_ZOO = "https://dl.fbaipublicfiles.com/detectron/ImageNetPretrained/"

FILES = {
    file.name: file
    for file in (
        WeightFile(
            "mobilenet_v2-b0353104.pth",
            "configs/examples, configs/paper/learning",
            _TORCHVISION + "mobilenet_v2-b0353104.pth",
            14_212_972,
            "b03531047ffacf1e2488318dcd2aba1126cde36e3bfe1aa5cb07700aeeee9889",
            "torchvision, MobileNet_V2_Weights.IMAGENET1K_V1",
        ),
        WeightFile(
            "resnet50-0676ba61.pth",
            "instead of resnet50_caffe.pth, see below",
            _TORCHVISION + "resnet50-0676ba61.pth",
            None,
            "0676ba61",
            "torchvision, ResNet50_Weights.IMAGENET1K_V1",
        ),
        WeightFile(
            "resnet101-63fe2227.pth",
            "instead of resnet101_caffe.pth, see below",
            _TORCHVISION + "resnet101-63fe2227.pth",
            None,
            "63fe2227",
            "torchvision, ResNet101_Weights.IMAGENET1K_V1",
        ),
        WeightFile("resnet50_caffe.pth", "the e2e recipes, configs/paper/ablation", None, None, "", _CAFFE),
        WeightFile("resnet101_caffe.pth", "configs/paper", None, None, "", _CAFFE),
        *(
            WeightFile(name, use, None, None, "", f"Detectron's model zoo, {_ZOO}{folder}{name}")
            for name, folder, use in (
                ("R-50-GN.pkl", "47261647/", "configs/gn_baselines"),
                ("R-101-GN.pkl", "47592356/", "configs/gn_baselines"),
                ("X-101-32x8d.pkl", "20171220/", "configs/baselines"),
                ("X-101-64x4d.pkl", "FBResNeXt/", "configs/baselines"),
                ("X-152-32x8d-IN5k.pkl", "25093814/", "configs/baselines"),
            )
        ),
    )
}


class DownloadError(Exception):
    """A file could not be downloaded, or is not what it should be; the message says which and what to do."""


def describe(file: WeightFile) -> str:
    """A line about a file."""
    size = "size unknown" if file.size is None else f"{file.size} bytes"
    digest = f"SHA-256 {file.sha256}" if file.sha256 else "SHA-256 unknown"
    return f"{file.name}: {file.source}; {size}, {digest}; for {file.use}"


def is_right(path: Path, file: WeightFile) -> bool:
    """Whether a file on the disk has the size and the checksum that are known."""
    if file.size is not None and path.stat().st_size != file.size:
        return False
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest().startswith(file.sha256)


def download(file: WeightFile, folder: Path) -> Path:
    """Fetch a file into `folder`, unless it is there; returns its path.

    What an interrupted download has left in ``<name>.part`` is gone on from, where the server can do that; such a file
    of another program is left alone.

    Raises:
        DownloadError: there is no address, the server cannot be reached, what came is not the file, or `folder` cannot
            be written or holds another program's file of this name.
    """
    target = folder / file.name
    if target.is_file():
        if is_right(target, file):
            return target
        raise DownloadError(f"{target} is there, but is not {describe(file)}; remove it to download it anew")
    if file.url is None:
        raise DownloadError(
            f"{file.name} has no stable address ({file.source}): put it into {folder} by hand, or use torchvision's "
            "ResNet as data/README.md describes"
        )
    part = folder / f"{file.name}.part"
    try:
        claim_outputs([part, target])
        note_outputs(part)
    except UserError as error:
        raise DownloadError(str(error)) from error
    try:
        _fetch(file.url, part)
    except (OSError, http.client.HTTPException, ValueError) as error:
        advice = f"; start again to go on from {part}" if part.is_file() else ""
        raise DownloadError(f"{file.url}: {error}{advice}") from error
    if file.size is not None and part.stat().st_size < file.size:
        raise DownloadError(f"{file.url}: ended after {part.stat().st_size} of {file.size} bytes; start again to go on")
    if not is_right(part, file):
        part.unlink()
        raise DownloadError(f"what {file.url} gave is not {describe(file)}; it was removed: start again")
    with recorded(target):
        part.replace(target)
    return target


def _fetch(url: str, part: Path) -> None:
    """Append to `part` what it lacks; from its beginning where the server does not know ranges."""
    start = part.stat().st_size if part.is_file() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={start}-"} if start else {})
    try:
        response = urllib.request.urlopen(request, timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # there is nothing after these bytes
            return
        raise
    with response, part.open("ab" if response.status == 206 else "wb") as stream:
        missing = int(response.headers.get("Content-Length") or 0)
        while block := response.read(_BLOCK):
            stream.write(block)
            missing -= len(block)
    if missing > 0:
        raise OSError(f"the connection ended {missing} bytes too early")


def main(argv: Sequence[str] | None = None) -> int:
    """Download what is named, or list what there is; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="files to download; none lists them")
    parser.add_argument("--output_dir", type=Path, default=Path("data/pretrained_model"), help="where to (%(default)s)")
    args = parser.parse_args(argv)
    unknown = [name for name in args.names if name not in FILES]
    if unknown:
        parser.error(f"unknown {', '.join(unknown)}; there are {', '.join(FILES)}")
    if not args.names:
        print("\n".join(describe(file) for file in FILES.values()))
    status = 0
    for name in args.names:
        try:
            print(f"{download(FILES[name], args.output_dir)}: right")
        except DownloadError as error:
            print(f"error: {error}", file=sys.stderr)
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
