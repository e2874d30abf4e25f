"""The loss of semantic segmentation against numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fpt.modeling.semantic.loss import PixelLoss


def _inputs(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, 4, 5, 6, generator=generator) * 2
    return logits.requires_grad_(), torch.randint(-1, 4, (2, 5, 6), generator=generator)


def _right(logits: torch.Tensor, target: torch.Tensor) -> np.ndarray:
    """Probability of the right class of each pixel that counts, float64."""
    values = logits.detach().double().numpy()
    shares = np.exp(values) / np.exp(values).sum(1, keepdims=True)
    where = np.argwhere(target.numpy() >= 0)
    return np.array([shares[b, target[b, y, x], y, x] for b, y, x in where])


def test_mean_over_the_pixels_that_count() -> None:
    logits, target = _inputs()
    assert PixelLoss()(logits, target).item() == pytest.approx(-np.log(_right(logits, target)).mean(), rel=1e-5)


def test_class_weights_make_a_weighted_mean() -> None:
    logits, target = _inputs()
    weights = (1.0, 0.0, 2.0, 5.0)
    each = np.array(weights)[target[target >= 0].numpy()]
    expected = (-np.log(_right(logits, target)) * each).sum() / each.sum()
    assert PixelLoss(class_weights=weights)(logits, target).item() == pytest.approx(expected, rel=1e-5)


def test_hard_pixels_alone_count() -> None:
    logits, target = _inputs()
    right = _right(logits, target)
    expected = -np.log(right[right <= 0.4]).mean()
    assert PixelLoss(hard_below=0.4, min_hard=1)(logits, target).item() == pytest.approx(expected, rel=1e-5)
    hardest = np.sort(right)[:20]  # ten of each of two images
    found = PixelLoss(hard_below=1e-9, min_hard=10)(logits, target).item()
    assert found == pytest.approx(-np.log(hardest).mean(), rel=1e-5)
    assert PixelLoss(hard_below=1e-9)(logits, target).item() == pytest.approx(-np.log(right).mean(), rel=1e-5)


def test_label_smoothing() -> None:
    logits, target = _inputs()
    values = logits.detach().double().log_softmax(1)
    uniform = values.mean(1)[target >= 0].mean().item()
    expected = -0.9 * np.log(_right(logits, target)).mean() - 0.1 * uniform
    assert PixelLoss(label_smoothing=0.1)(logits, target).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("loss", [PixelLoss(), PixelLoss(hard_below=0.7), PixelLoss(class_weights=(0.0, 1, 1, 1))])
def test_nothing_that_counts_is_zero_with_a_gradient(loss: PixelLoss) -> None:
    logits, target = _inputs()
    value = loss(logits, torch.full_like(target, -1))
    value.backward()
    assert value.item() == 0
    assert torch.equal(logits.grad, torch.zeros_like(logits))
    only_first = torch.full_like(target, 0)
    assert torch.isfinite(loss(logits, only_first))
