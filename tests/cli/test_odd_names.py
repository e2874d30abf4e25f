"""Files whose names are no UTF-8: every program reads and writes them, and every log and list names them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ODD = os.fsdecode(b"caf\xe9 \xff")


def run(program: str, *arguments: object) -> subprocess.CompletedProcess[bytes]:
    """The command, where standard output takes UTF-8 alone."""
    command = [sys.executable, "-c", f"import sys; from fpt.cli.entry import {program}; sys.exit({program}())"]
    words = [os.fsencode(str(argument)) for argument in (*command, *arguments)]
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8:strict", "OMP_NUM_THREADS": "1"}
    return subprocess.run(words, capture_output=True, env=environment, check=False)


@pytest.fixture
def odd(tiny):
    """The data set with an image of an odd name, and one that is broken besides, in a folder of an odd name."""
    images = (tiny.folder / "images").rename(tiny.folder / ODD)
    (images / "1.png").rename(images / f"{ODD}.png")
    (images / f"2{ODD}.png").write_bytes(b"broken")

    def rename(content: dict) -> None:
        content["images"][0]["file_name"] = f"{ODD}.png"
        content["images"].append({"id": 3, "file_name": f"2{ODD}.png", "width": 64, "height": 64})

    tiny.change(rename)
    name = json.dumps(ODD)
    tiny.cfg.write_text(tiny.cfg.read_text().replace("IMAGE_DIR: images", f"IMAGE_DIR: {name}"))
    return tiny


def test_training_and_inference(odd) -> None:
    out = odd.folder / f"run {ODD}"
    trained = run(
        "train", *odd.arguments("--output_dir", out, "--set", "SOLVER.MAX_ITER", "2", "TRAIN.VIS_PERIOD", "2")
    )
    assert (trained.returncode, b"Traceback" in trained.stderr) == (0, False), trained.stderr
    assert rb"run folder: " in trained.stdout
    assert rb"run caf\udce9 \udcff" in trained.stdout
    assert r"caf\udce9 \udcff" in (out / "log.txt").read_text(encoding="utf-8")
    (bad,) = map(json.loads, (out / "bad_samples.jsonl").read_text(encoding="utf-8").splitlines())
    assert bad["file"].endswith(f"2{ODD}.png")
    results = odd.folder / f"results {ODD}"
    more = ("--load_ckpt", out / "ckpt" / "model_step2.pth", "--images", f"{odd.folder}/*/*.png")
    for _ in range(2):
        found = run("infer", *odd.arguments(*more, "--output_dir", results))
        assert (found.returncode, b"Traceback" in found.stderr) == (1, False), found.stderr
        assert f"error: no result for {odd.folder}".encode() in found.stderr
    content = json.loads((results / f"{ODD}.json").read_text(encoding="utf-8"))
    assert Path(content["file"]).is_file()
