"""DropBlock."""

from __future__ import annotations

import pytest
import torch

from fpt.layers.dropblock import DropBlock


def test_drops_blocks_of_about_the_share_and_keeps_the_mean():
    torch.manual_seed(0)
    out = DropBlock(block_size=5, keep_prob=0.9)(torch.ones(8, 2, 64, 64))
    dropped = (out == 0).float().mean().item()
    assert 0.05 < dropped < 0.15
    assert out.mean().item() == pytest.approx(1, abs=1e-5)
    assert torch.equal(out[:, 0], out[:, 1])
    # an isolated zero cell cannot be: each lies in a 5x5 block of zeros
    zeros = (out[:, :1] == 0).float()
    blocks = torch.nn.functional.avg_pool2d(zeros, 5, stride=1) > 0.999
    covered = torch.nn.functional.max_pool2d(torch.nn.functional.pad(blocks.float(), (4, 4, 4, 4)), 5, stride=1)
    assert torch.equal(covered, zeros)


def test_identity_in_evaluation_and_at_keep_prob_one():
    x = torch.randn(1, 3, 7, 2)
    assert DropBlock().eval()(x) is x
    assert DropBlock(keep_prob=1.0)(x) is x


def test_small_maps_and_wrong_settings():
    torch.manual_seed(0)
    assert DropBlock(block_size=5)(torch.ones(2, 3, 1, 2)).isfinite().all()
    with pytest.raises(ValueError, match="keep_prob 0"):
        DropBlock(keep_prob=0.0)
