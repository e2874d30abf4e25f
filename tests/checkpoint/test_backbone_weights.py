"""ImageNet weights into a backbone."""

import logging
import pickle
from pathlib import Path

import pytest
import torch
from torch import nn

from fpt.checkpoint.backbone_weights import load_backbone_weights
from fpt.layers.norm import FrozenBatchNorm2d, group_norm
from fpt.utils.errors import UserError


class _Backbone(nn.Module):
    def __init__(self, norm=FrozenBatchNorm2d) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3, bias=False)
        self.bn1 = norm(4)


def _caffe_file(path: Path, **extra: torch.Tensor) -> Path:
    weights = {
        "conv1.weight": torch.randn(4, 3, 3, 3),
        "bn1.weight": torch.rand(4),
        "bn1.bias": torch.rand(4),
        "bn1.running_mean": torch.rand(4),
        "bn1.running_var": torch.rand(4),
        "fc.weight": torch.randn(10, 4),
        **extra,
    }
    torch.save(weights, path)
    return path


def test_caffe_file_loads_and_says_what_is_left_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = _caffe_file(tmp_path / "backbone.pth")
    backbone = _Backbone()
    with caplog.at_level(logging.INFO, logger="fpt"):
        report = load_backbone_weights(backbone, path)
    torch.testing.assert_close(backbone.bn1.running_var, torch.load(path, weights_only=True)["bn1.running_var"])
    assert len(report.loaded) == 5
    assert report.ignored == ("fc.weight",)
    assert "5 tensors loaded" in caplog.text
    assert "not needed: fc.weight" in caplog.text


@pytest.mark.parametrize("wrapper", ["state_dict", "model"])
def test_wrapped_and_prefixed_files_load(tmp_path: Path, wrapper: str) -> None:
    weights = torch.load(_caffe_file(tmp_path / "plain.pth"), weights_only=True)
    path = tmp_path / "wrapped.pth"
    torch.save({wrapper: {f"module.{name}": value for name, value in weights.items()}, "epoch": 3}, path)
    assert len(load_backbone_weights(_Backbone(), path).loaded) == 5


def test_all_that_does_not_fit_is_reported_and_nothing_loaded(tmp_path: Path) -> None:
    path = tmp_path / "other.pth"
    torch.save(
        {"conv1.weight": torch.zeros(8, 3, 3, 3), "layer9.weight": torch.zeros(1), "bn1.bias": torch.zeros(4)}, path
    )
    backbone = _Backbone()
    before = backbone.conv1.weight.clone()
    with pytest.raises(UserError) as error:
        load_backbone_weights(backbone, path)
    for part in ("missing: bn1.weight", "(8, 3, 3, 3) instead of (4, 3, 3, 3)", "layer9.weight", "MODEL.CONV_BODY"):
        assert part in str(error.value)
    torch.testing.assert_close(backbone.conv1.weight, before)


def test_batch_norm_weights_are_refused_by_a_group_norm_backbone(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"set RESNETS\.USE_GN False"):
        load_backbone_weights(_Backbone(group_norm), _caffe_file(tmp_path / "backbone.pth"))


def test_file_without_tensors_is_refused(tmp_path: Path) -> None:
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(UserError, match="holds no tensors by name"):
        load_backbone_weights(_Backbone(), tmp_path / "list.pth")


class _Bomb:
    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self):
        return (Path.touch, (self.witness,))


def test_hostile_file_is_refused_and_not_run(tmp_path: Path) -> None:
    witness = tmp_path / "ran"
    with (tmp_path / "bomb.pth").open("wb") as file:
        pickle.dump({"conv1.weight": _Bomb(witness)}, file, protocol=2)
    with pytest.raises(UserError, match="could run code; nothing was run"):
        load_backbone_weights(_Backbone(), tmp_path / "bomb.pth")
    assert not witness.exists()
