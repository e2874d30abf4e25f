"""Whatever stands in a yaml file: it is a configuration, or one message says why not."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from fpt.core.config import load_cfg
from fpt.utils.errors import UserError

WORDS = (
    *("&a", "*a", "[", "]", "{", "}", ":", "- ", "|", ">", "!!python/object:os.system", "? ", "<<: *a", "\t", "#"),
    *("%YAML", "1e999", "0x_", "2001-99-99", "9" * 400, "null", "~", "yes", "'", '"', "\x00", "\ud7ff", "()", "(1,"),
)


@pytest.mark.parametrize("seed", range(6))
def test_any_damage_is_read_or_refused(root: Path, tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    texts = [path.read_text(encoding="utf-8") for path in sorted((root / "configs").rglob("*.yaml"))]
    path = tmp_path / "a.yaml"
    start = time.perf_counter()
    for _ in range(50):
        text = rng.choice(texts)
        for _ in range(rng.choice((1, 1, 2, 5))):
            place = rng.randrange(len(text))
            cut = rng.choice((0, 0, 1, 5))
            text = text[:place] + rng.choice((*WORDS, chr(rng.randrange(32, 127)))) + text[place + cut :]
        path.write_bytes(text.encode())
        try:
            cfg = load_cfg(path)
        except UserError as error:
            str(error).encode()
        else:
            assert cfg.is_frozen
            assert all(isinstance(size, int) and size > 0 for size in cfg.TRAIN.SCALES)
    assert time.perf_counter() - start < 30
