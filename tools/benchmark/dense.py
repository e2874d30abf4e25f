"""The dense formula in the place of the kernel: what the kernel is measured against."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from torch import Tensor

from fpt.layers.attention import Similarity
from fpt.modeling.neck import self_transformer

_FORMULA = Path(__file__).resolve().parents[2] / "tests" / "layers" / "dense.py"


def dense_mixture_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mixture: Tensor,
    *,
    similarity: Similarity = "dot",
    scale: float | None = None,
    key_padding_mask: Tensor | None = None,
) -> Tensor:
    """As `fpt.layers.attention.mixture_attention`, by the formula of the tests in the type of the query.

    Its distance is |q|^2 - 2 q.k + |k|^2 here: differences of all pairs would need another 32 times the memory.
    """
    return _dense_attention(
        query,
        key,
        value,
        mixture,
        similarity=similarity,
        scale=scale,
        padding=key_padding_mask,
        dtype=query.dtype,
        squared_distance=_expanded_distance,
    )


@contextmanager
def dense_attention_in_necks() -> Iterator[None]:
    """Within it, self- and grounding transformers compute the dense formula."""
    original = self_transformer.mixture_attention
    self_transformer.mixture_attention = dense_mixture_attention
    try:
        yield
    finally:
        self_transformer.mixture_attention = original


def _expanded_distance(q: Tensor, k: Tensor) -> Tensor:
    return q.square().sum(-1, keepdim=True) - 2 * (q @ k.mT) + k.square().sum(-1)


def _load_formula() -> Callable[..., Tensor]:
    spec = importlib.util.spec_from_file_location("dense_formula", _FORMULA)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.dense_attention


_dense_attention = _load_formula()
