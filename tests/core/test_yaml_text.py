"""Broken, endless and odd yaml texts end in one sentence with the line, at once."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from fpt.core.config import load_cfg
from fpt.core.yaml_text import MAX_BYTES, read_leaves
from fpt.utils.errors import UserError

_ALIASES = "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdefg", "bcdefgh", strict=True)
)
_MERGES = "".join(
    f"{name}: &{name} {{<<: [{', '.join([f'*{old}'] * 9)}]}}\n" for old, name in zip("abcdefg", "bcdefgh", strict=True)
)

REFUSED = {
    "sequence in itself": ("A: 1\nTRAIN: {SCALES: &s [*s]}", "line 2: an alias stands inside what it names"),
    "mapping in itself": ("MODEL: &m {A: *m}", "line 1: an alias stands inside what it names"),
    "merge of itself": ("a: &a\n  <<: *a", "line 2: an alias stands inside what it names"),
    "aliases that multiply": ("a: &a [x, x, x, x, x, x, x, x, x]\n" + _ALIASES, "aliases followed"),
    "merges that multiply": ("a: &a {b: 1, c: 2, d: 3, e: 4, f: 5}\n" + _MERGES, "aliases followed"),
    "merge of a number": ("a: {<<: 3}", "line 1: .*expected a mapping or list of mappings for merging"),
    "900 brackets": ("a: 1\nb: " + "[" * 900 + "]" * 900, "line 2: more than 20 levels"),
    "100,000 brackets": ("[" * 100_000, "line 1: more than 20 levels"),
    "900 levels of aliases": ("k0: &k0 [x]\n" + "".join(f"k{i}: &k{i} [*k{i - 1}]\n" for i in range(1, 900)), "levels"),
    "10,000 keys": ("".join(f"k{number}: 1\n" for number in range(10_000)), "keys and values"),
    "number without digits": ("a: 1\nb: 0x_", "line 2: 0x_ cannot be read as int"),
    "5,000 digits": (
        "SOLVER: {MAX_ITER: " + "9" * 5000 + "}",
        r"line 1: 9{20}\.\.\. \(5000 characters\) cannot be read",
    ),
    "wrong number by tag": ("a: !!int many", "line 1: many cannot be read as int"),
    "wrong truth by tag": ("a: !!bool maybe", "line 1: maybe cannot be read as bool"),
    "own tag": ("a: !mine b", "line 1: the tag !mine is not known here"),
    "binary": ("a: !!binary '%%%'", "line 1: the tag !!binary is not known here"),
    "tag of code": ("a: !!python/object/apply:os.getcwd []", "line 1: the tag !!python/object/apply:os.getcwd is not"),
    "sequence as a key": ("? [a]\n: b", "line 1: a key is a word"),
    "braces of a template": ("a: 1\nb: {{ value }}", "line 2: a key is a word"),
    "long key": ("a" * 130 + ": 1", "line 1: a key is a word of at most 120 printable characters"),
    "control character in a key": ('"a\\0b": 1', "line 1: a key is a word of at most 120 printable characters"),
    "NUL character": ("a: 1\nb: \0", "line 2: the character 0x0000 is not allowed"),
    "tab": ("a:\n\tb: 1", r"line 2: .*\(yaml is indented with spaces, not with tabs\)"),
    "two documents": ("a: 1\n---\nb: 2", "line 2: expected a single document"),
    "unknown alias": ("a: *b", "line 1: found undefined alias 'b'"),
    "quote without end": ("a: 'b", "line 1: .*unexpected end of stream"),
    "equals sign": ("a: =", "line 1: the tag !!value is not known here"),
    "long text": ("#" * (MAX_BYTES + 1), "is longer than 256 kB"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_with_the_line(case: str) -> None:
    text, message = REFUSED[case]
    with pytest.raises(UserError, match=message) as caught:
        read_leaves(text, source="a.yaml")
    assert "\n" not in str(caught.value)
    assert "a.yaml" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "leaves"),
    [
        ("a: &a [1, 2]\nb: *a", [("a", [1, 2], 1), ("b", [1, 2], 2)]),
        ("a: &a {x: 1, y: 2}\nb:\n  <<: *a\n  y: 3", [("a.x", 1, 1), ("a.y", 2, 1), ("b.x", 1, 1), ("b.y", 3, 4)]),
        ("a: 2001-99-99\nb: 2001-12-31", [("a", "2001-99-99", 1), ("b", "2001-12-31", 2)]),
        ("ON: True\n1: 2\nnull: 3", [("ON", True, 1), ("1", 2, 2), ("null", 3, 3)]),
        ("a: !!python/tuple [800, 600]", [("a", (800, 600), 1)]),
        ("a:\n  # b: 1\nc: {}", [("a", None, 1), ("c", {}, 3)]),
        ("# nothing\n", []),
        ("---\na: 1\n...\n", [("a", 1, 2)]),
    ],
)
def test_read(text: str, leaves: list[object]) -> None:
    assert [tuple(leaf) for leaf in read_leaves(text, source="a.yaml")] == leaves


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_texts_of_windows_editors_load(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes("OUTPUT_DIR: für uns\r\nVIS: True\r\n".encode(encoding))
    assert load_cfg(path).OUTPUT_DIR == "für uns"


def test_other_bytes_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes("VIS: True\nOUTPUT_DIR: für\n".encode("latin-1"))
    with pytest.raises(UserError, match="line 2: byte 0xfc is no UTF-8; save it as UTF-8"):
        load_cfg(path)
    path.write_bytes(b"x" * 1_000_000)
    with pytest.raises(UserError, match="is larger than 256 kB"):
        load_cfg(path)


def test_a_group_of_comments_alone_sets_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("TRAIN:\n  # MAX_SIZE: 800\nDATASETS:\nSOLVER: {}\nMODEL:\n  FPT:\n")
    assert load_cfg(path) == load_cfg(None)


def test_a_key_that_stands_often_warns_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "fpt"):
        read_leaves("a: 1\n" * 50, source="a.yaml")
    assert [record.getMessage() for record in caplog.records] == [
        "a (in a.yaml, line 50): stands twice in its group; the last one counts"
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("SOLVER: {BASE_LR: " + "9" * 401 + "}", "is a number of about 401 digits, but a finite number is due"),
        ("SOLVER: {MAX_ITER: 0x" + "f" * 5000 + "}", "is a number of about 6021 digits, but must be at most"),
        ("OUTPUT_DIR: [0x" + "f" * 5000 + "]", "is a list with a number that is too long"),
        ("OUTPUT_DIR: [" + "1, " * 2000 + "]", r"\.\.\. \(6000 characters\), but text is due"),
        ('OUTPUT_DIR: "a\\0b"', "without control characters is due"),
        ("TRAIN: {SCALES: [.nan]}", "one element is nan, but a whole number is due"),
        ("SOLVER: {BASE_LR: .inf}", "is inf, but a finite number is due"),
        ("FPN: {DIM: 1000000000}", "FPN.DIM is 1000000000, but must be at most 16384"),
    ],
)
def test_values_beyond_all_bounds_have_their_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("VIS: True\n" + text)
    with pytest.raises(UserError, match=message) as caught:
        load_cfg(path)
    assert str(caught.value).endswith(f"(in {path}, line 2)")
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize(
    "value",
    [
        "[" * 900,
        "(" * 900,
        "-" * 9000 + "1",
        "1" + "+1" * 9000,
        "9" * 5000,
        "0x" + "f" * 5000,
        "&a [*a]",
        "{",
        "[a",
        "\0",
    ],
)
@pytest.mark.parametrize("key", ["SOLVER.MAX_ITER", "SOLVER.BASE_LR", "TRAIN.SCALES", "MODEL.MASK_ON", "DATASETS"])
def test_odd_values_of_pairs_are_refused(key: str, value: str) -> None:
    with pytest.raises(UserError, match=f"{key} is ") as caught:
        load_cfg(None, [key, value])
    assert len(str(caught.value)) < 600
