"""Foreign bytes are refused with a message, and never executed."""

import pickle
from pathlib import Path

import pytest
import torch

from fpt.checkpoint.safe_load import safe_torch_load
from fpt.utils.errors import UserError


class Touch:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return (Path.touch, (self.path,))


def test_reads_tensors_and_plain_values(tmp_path: Path) -> None:
    torch.save({"a": torch.arange(3), "b": [1, "x", None]}, tmp_path / "a.pth")
    content = safe_torch_load(tmp_path / "a.pth")
    assert content["a"].tolist() == [0, 1, 2]
    assert content["b"] == [1, "x", None]


def test_missing_file_names_its_neighbour(tmp_path: Path) -> None:
    (tmp_path / "model_step10.pth").touch()
    with pytest.raises(UserError, match=r"model_step1\.pth does not exist; near it: model_step10\.pth"):
        safe_torch_load(tmp_path / "model_step1.pth")


def test_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is a folder"):
        safe_torch_load(tmp_path)


@pytest.mark.parametrize("size", [10, 200, 5000])
def test_truncated_file(tmp_path: Path, size: int) -> None:
    torch.save({"a": torch.rand(2000)}, tmp_path / "a.pth")
    whole = (tmp_path / "a.pth").read_bytes()
    assert len(whole) > size
    (tmp_path / "a.pth").write_bytes(whole[:size])
    with pytest.raises(UserError, match=rf"a\.pth cannot be read \({size} bytes\): it is truncated or no torch file"):
        safe_torch_load(tmp_path / "a.pth")


@pytest.mark.parametrize("as_zip", [True, False])
def test_hostile_file_is_not_executed(tmp_path: Path, as_zip: bool) -> None:
    trap = tmp_path / "touched"
    if as_zip:
        torch.save({"a": Touch(trap)}, tmp_path / "a.pth")
    else:
        (tmp_path / "a.pth").write_bytes(pickle.dumps({"a": Touch(trap)}))
    with pytest.raises(UserError, match=r"a\.pth is refused|a\.pth cannot be read"):
        safe_torch_load(tmp_path / "a.pth")
    assert not trap.exists()


def test_hostile_message_names_the_object(tmp_path: Path) -> None:
    torch.save({"a": Touch(tmp_path / "touched")}, tmp_path / "a.pth")
    with pytest.raises(UserError, match=r"is refused: it asks for \w+.*nothing was run"):
        safe_torch_load(tmp_path / "a.pth")
