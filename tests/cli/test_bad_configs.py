"""Wrong configurations end the training with status 2 and a message, before a folder is made.

tests/bad_inputs.md lists them.
"""

from __future__ import annotations

import pytest
import torch

from fpt.cli import train

OPTIONS = {
    "unknown option": (["SOLVER.BASE_RL", "1"], "SOLVER.BASE_RL is unknown; the nearest known key is SOLVER.BASE_LR"),
    "value of a wrong type": (["SOLVER.MAX_ITER", "many"], "SOLVER.MAX_ITER is 'many', but a whole number is due"),
    "value out of range": (["TEST.NMS", "1.5"], "TEST.NMS is 1.5, but must be at most 1"),
    "value that is none of the legal ones": (["SOLVER.TYPE", "Lion"], "SOLVER.TYPE is 'Lion'; legal: SGD, Adam, AdamW"),
    "infinite number": (["SOLVER.BASE_LR", "1e999"], "a finite number is due"),
    "number beyond all bounds": (["FPN.DIM", "1000000000"], "FPN.DIM is 1000000000, but must be at most 16384"),
    "number of 5,000 digits": (["SOLVER.MAX_ITER", "9" * 5000], "but a whole number is due"),
    "brackets without end in a value": (
        ["TRAIN.SCALES", "[" * 900],
        "TRAIN.SCALES is not valid yaml: line 1: more than",
    ),
    "options that contradict each other": (["FPN.ROI_MIN_LEVEL", "5", "FPN.ROI_MAX_LEVEL", "3"], "must not be above"),
    "steps that do not rise": (["SOLVER.STEPS", "(20, 10)"], "must rise from each to the next"),
    "option without a value": (["SOLVER.BASE_LR"], "takes pairs"),
    "older option that asks for what is missing": (["TRAIN.DROPOUT=0.5"], "no head here uses dropout"),
    "class name twice": (["DATASETS.tiny_train.CLASSES", "[box, box]"], "one or more different names are due"),
    "device that there is not": (["DEVICE", "gpu"], "DEVICE is 'gpu', but must be auto, cpu, cuda, cuda:0 "),
    "unknown data set": (["TRAIN.DATASETS", "tiny_trian"], "unknown data set 'tiny_trian'; did you mean"),
    "no data set": (["TRAIN.DATASETS", "()"], "TRAIN.DATASETS names no data set"),
    "data set declared by half": (["DATASETS.x.IMAGE_DIR", "a"], "DATASETS.x.ANN_FILE is missing"),
    "missing annotation file": (["DATASETS.tiny_train.ANN_FILE", "no.json"], "'no.json' does not exist; looked at"),
    "missing image folder": (["DATASETS.tiny_train.IMAGE_DIR", "no"], "'no' does not exist; looked at"),
    "missing weights": (
        ["RESNETS.IMAGENET_PRETRAINED_WEIGHTS", "no.pth", "MODEL.LOAD_IMAGENET_PRETRAINED_WEIGHTS", "True"],
        "no.pth and no.pth and data/no.pth; put it at one of these places",
    ),
    "unknown backbone": (["MODEL.CONV_BODY", "FPN.ResNet51_conv5_body"], "FPN.ResNet51_conv5_body"),
}


def _assert_refused(tiny, capsys: pytest.CaptureFixture[str], message: str, *more: str) -> None:
    assert train.main(tiny.arguments("--output_dir", tiny.folder / "run", *more)) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert "Traceback" not in error
    assert not (tiny.folder / "run").exists()


@pytest.mark.parametrize("case", OPTIONS)
def test_option(tiny, capsys: pytest.CaptureFixture[str], case: str) -> None:
    pairs, message = OPTIONS[case]
    _assert_refused(tiny, capsys, message, "--set", *pairs)


FILES = {
    "broken yaml": (b"MODEL: {CONV_BODY: [\n", "is not valid yaml"),
    "yaml that holds a list": (b"- 1\n- 2\n", "must hold KEY: VALUE pairs, but it holds a list"),
    "yaml that is no text": (b"\xff\xfe\x00\x01\x80", "tiny.yaml"),
    "yaml in itself": (b"MODEL: &m {A: *m}", "line 1: an alias stands inside what it names"),
    "yaml that multiplies": (
        b"a: &a [" + b"x, " * 99 + b"]\nb: &b [" + b"*a, " * 99 + b"]\nc: [" + b"*b, " * 99 + b"]",
        "aliases followed",
    ),
    "yaml with 900 brackets": (b"A: " + b"[" * 900, "line 1: more than 20 levels"),
    "yaml with a NUL character": (b"VIS: True\nDEBUG: \0", "line 2: the character 0x0000 is not allowed"),
    "yaml with tabs": (b"MODEL:\n\tMASK_ON: True", "line 2: "),
    "yaml of another program": (
        b"MODEL: {META_ARCHITECTURE: GeneralizedRCNN, WEIGHTS: a.pkl}\nINPUT: {MAX_SIZE_TRAIN: 1333}",
        "is a file of Detectron2, not of this program",
    ),
    "large file": (b"\x80" * 300_000, "is larger than 256 kB"),
    "yaml with code in it": (b"MODEL: !!python/object/apply:os.system ['touch hacked']\n", "is not valid yaml"),
}


@pytest.mark.parametrize("case", FILES)
def test_file(tiny, capsys: pytest.CaptureFixture[str], case: str) -> None:
    content, message = FILES[case]
    tiny.cfg.write_bytes(content)
    _assert_refused(tiny, capsys, message)


def test_missing_file(tiny, capsys: pytest.CaptureFixture[str]) -> None:
    tiny.cfg.unlink()
    _assert_refused(tiny, capsys, "tiny.yaml does not exist; files with a similar name: ")


def test_folder_instead_of_a_file(tiny, capsys: pytest.CaptureFixture[str]) -> None:
    tiny.cfg.unlink()
    tiny.cfg.mkdir()
    _assert_refused(tiny, capsys, "tiny.yaml does not exist")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_device_that_is_absent(tiny, capsys: pytest.CaptureFixture[str]) -> None:
    _assert_refused(tiny, capsys, "DEVICE", "--set", "DEVICE", "cuda")
