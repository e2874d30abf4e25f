"""An independent formula of attention, in float64, and operands for it."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor


@pytest.fixture
def dense() -> Callable[..., Tensor]:
    """`dense_attention` of dense.py."""
    spec = importlib.util.spec_from_file_location("dense_formula", Path(__file__).with_name("dense.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.dense_attention


@pytest.fixture
def operands() -> Callable[..., tuple[Tensor, ...]]:
    """See `make_operands`."""
    return make_operands


def make_operands(nq, nk, dk, dv, parts, *, batch=2, size=1.0, seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    shapes = [(batch, nq, dk), (batch, nk, dk), (batch, nk, dv), (parts, dk)]
    q, k, v, w = (torch.randn(shape, generator=generator, dtype=dtype) for shape in shapes)
    return q * size, k * size, v, w
