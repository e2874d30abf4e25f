"""Attention against dense formulas in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck

from fpt.layers import attention_chunks
from fpt.layers.attention import local_mixture_attention, mixture_attention


@pytest.mark.parametrize("similarity", ["dot", "euclidean"])
@pytest.mark.parametrize(
    ("nq", "nk", "dk", "dv", "parts"), [(50, 30, 16, 12, 2), (7, 300, 8, 8, 4), (3000, 200, 12, 6, 1)]
)
@pytest.mark.parametrize("size", [0.01, 1.0])
def test_mixture_attention_equals_the_dense_formula(operands, dense, similarity, nq, nk, dk, dv, parts, size):
    q, k, v, w = operands(nq, nk, dk, dv, parts, size=size)
    expected = dense(q, k, v, w, similarity=similarity)
    out = mixture_attention(q, k, v, w, similarity=similarity)
    assert out.shape == (2, nq, dv)
    assert (out - expected).abs().max() <= 1e-5 * expected.abs().max()


@pytest.mark.parametrize("similarity", ["dot", "euclidean"])
@pytest.mark.parametrize("size", [3.0, 10.0, 100.0])
@pytest.mark.parametrize(("nk", "dk", "parts"), [(40, 16, 2), (300, 8, 8), (100, 128, 4), (50, 4, 1)])
def test_large_logits_are_as_exact_as_the_dense_formula_in_float32(operands, dense, similarity, size, nk, dk, parts):
    q, k, v, w = operands(60, nk, dk, 8, parts, size=size)
    expected = dense(q, k, v, w, similarity=similarity)
    in_float32 = dense(q, k, v, w, similarity=similarity, dtype=torch.float32)
    out = mixture_attention(q, k, v, w, similarity=similarity)
    assert out.isfinite().all()
    floor = torch.finfo(torch.float32).eps * expected.abs().max()
    assert (out - expected).abs().max() <= 4 * max((in_float32 - expected).abs().max(), floor)


@pytest.mark.parametrize("similarity", ["dot", "euclidean"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_huge_operands_overflow_nowhere(operands, similarity, dtype):
    q, k, v, w = operands(20, 30, 8, 4, 2, size=300.0)
    args = [x.to(dtype).requires_grad_() for x in (q, k, v)]
    out = mixture_attention(*args, w, similarity=similarity)
    out.float().sum().backward()
    assert out.isfinite().all()
    assert all(x.grad.isfinite().all() for x in args)


def test_an_image_whose_keys_are_all_padded_stays_finite(operands):
    q, k, v, w = operands(20, 15, 8, 4, 2)
    padding = torch.tensor([[True] * 15, [False] * 15])
    q.requires_grad_()
    out = mixture_attention(q, k, v, w, key_padding_mask=padding)
    out.sum().backward()
    assert out.isfinite().all()
    assert q.grad.isfinite().all()


@pytest.mark.parametrize("similarity", ["dot", "euclidean"])
def test_padded_keys_take_no_part(operands, dense, similarity):
    q, k, v, w = operands(20, 15, 8, 4, 2)
    padding = torch.zeros(2, 15, dtype=torch.bool)
    padding[0, 9:] = True
    expected = dense(q, k, v, w, similarity=similarity, padding=padding)
    k, v = k.masked_fill(padding[..., None], 1e4), v.masked_fill(padding[..., None], 1e4)
    out = mixture_attention(q, k, v, w, similarity=similarity, key_padding_mask=padding)
    assert torch.allclose(out.double(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("similarity", ["dot", "euclidean"])
@pytest.mark.parametrize("size", [0.01, 0.1, 1.0])
@pytest.mark.parametrize("is_padded", [False, True])
def test_gradients_equal_the_dense_formula(operands, dense, similarity, size, is_padded, monkeypatch):
    monkeypatch.setattr(attention_chunks, "_CHUNK_LOGITS", 64 * 70 * 4)  # several chunks of several blocks
    monkeypatch.setattr(attention_chunks, "_BLOCK_LOGITS", 20 * 70 * 4)
    args = [x.requires_grad_() for x in operands(300, 70, 16, 12, 4, size=size)]
    padding = torch.arange(70) >= torch.tensor([[50], [70]]) if is_padded else None
    out = mixture_attention(*args, similarity=similarity, key_padding_mask=padding)
    expected_out = dense(*args, similarity=similarity, padding=padding)
    assert (out - expected_out).abs().max() <= 1e-5 * expected_out.abs().max()
    direction = torch.randn(out.shape, generator=torch.Generator().manual_seed(1))
    grads = torch.autograd.grad((out * direction).sum(), args)
    expected = torch.autograd.grad((expected_out * direction).sum(), args)
    for grad, reference in zip(grads, expected, strict=True):
        assert (grad - reference).abs().max() <= 1e-4 * reference.abs().max()


@pytest.mark.parametrize("similarity", ["dot", "euclidean"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("offset", [0.0, 4.0])
@pytest.mark.parametrize("is_padded", [False, True])
def test_half_types_are_the_dense_formula_of_the_same_operands(
    operands, dense, similarity, dtype, offset, is_padded, monkeypatch
):
    monkeypatch.setattr(attention_chunks, "_CHUNK_LOGITS", 64 * 70 * 4)
    monkeypatch.setattr(attention_chunks, "_BLOCK_LOGITS", 20 * 70 * 4)
    q, k, v, w = operands(300, 70, 16, 12, 4)
    args = [x.requires_grad_() for x in ((q + offset).to(dtype), (k + offset).to(dtype), v.to(dtype), w)]
    padding = torch.arange(70) >= torch.tensor([[50], [70]]) if is_padded else None
    out = mixture_attention(*args, similarity=similarity, key_padding_mask=padding)
    expected_out = dense(*args, similarity=similarity, padding=padding)
    limit = 2 * torch.finfo(dtype).eps
    assert (out - expected_out).abs().max() <= limit * expected_out.abs().max()
    direction = torch.randn(out.shape, generator=torch.Generator().manual_seed(1))
    grads = torch.autograd.grad((out * direction).sum(), args)
    expected = torch.autograd.grad((expected_out * direction).sum(), args)
    for grad, reference in zip(grads, expected, strict=True):
        assert (grad - reference).abs().max() <= 2 * limit * reference.abs().max()


def test_no_matrix_of_all_pairs_exists(operands, largest_tensor):
    q, k, v, w = (x.requires_grad_() for x in operands(4000, 3000, 8, 8, 4, batch=1))
    with largest_tensor as largest:
        mixture_attention(q, k, v, w, similarity="euclidean").sum().backward()
    assert largest.num_elements <= attention_chunks._CHUNK_LOGITS < 4000 * 3000


@pytest.mark.parametrize("similarity", ["dot", "euclidean"])
def test_gradcheck(operands, similarity):
    args = [x.requires_grad_() for x in operands(5, 4, 4, 3, 2, dtype=torch.float64)]
    padding = torch.tensor([[False, False, False, True], [False] * 4])
    assert gradcheck(lambda *x: mixture_attention(*x, similarity=similarity, key_padding_mask=padding), args)


def test_hand_computed_value():
    # one part, scale 1, keys 0 and 1, query 0: weights softmax(0, -1) of the values 10 and 20
    q, k, v = torch.zeros(1, 1, 1), torch.tensor([[[0.0], [1.0]]]), torch.tensor([[[10.0], [20.0]]])
    out = mixture_attention(q, k, v, torch.ones(1, 1), similarity="euclidean", scale=1.0)
    share = 1 / (1 + torch.e**-1)
    assert out.item() == pytest.approx(10 * share + 20 * (1 - share), rel=1e-6)


def test_bfloat16_and_autocast(operands, dense):
    q, k, v, w = operands(40, 30, 16, 8, 2)
    expected = dense(q, k, v, w, similarity="euclidean")
    out = mixture_attention(*(x.bfloat16() for x in (q, k, v)), w, similarity="euclidean")
    assert out.dtype == torch.bfloat16
    assert (out.double() - expected).abs().max() < 1e-2 * expected.abs().max()
    with torch.autocast("cpu", torch.bfloat16):
        same = mixture_attention(q, k, v, w, similarity="euclidean")
    assert torch.allclose(same.double(), expected, atol=1e-5)
    q.requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        mixture_attention(q, k, v, w, similarity="euclidean").sum().backward()
    assert q.grad is not None
    assert q.grad.isfinite().all()


def test_empty_batch_and_no_queries(operands):
    q, k, v, w = operands(6, 5, 4, 3, 2)
    assert mixture_attention(q[:0], k[:0], v[:0], w).shape == (0, 6, 3)
    assert mixture_attention(q[:, :0], k, v, w).shape == (2, 0, 3)


def test_wrong_input_is_named(operands):
    q, k, v, w = operands(6, 5, 4, 3, 2)
    with pytest.raises(ValueError, match="similarity is 'cosine'"):
        mixture_attention(q, k, v, w, similarity="cosine")
    with pytest.raises(ValueError, match="4 channels cannot be split into 3 parts"):
        mixture_attention(q, k, v, torch.zeros(3, 4))
    with pytest.raises(ValueError, match="query, key and mixture have 2, 4 and 4 channels"):
        mixture_attention(q[..., :2], k, v, w)
    with pytest.raises(ValueError, match="no keys"):
        mixture_attention(q, k[:, :0], v[:, :0], w)
    with pytest.raises(ValueError, match="window is 4"):
        local_mixture_attention(q[..., None], k[..., None], v[..., None], w, window=4)


def dense_local(q, k, v, mixture, *, window, similarity, scale) -> Tensor:
    """LGT position by position."""
    q, k, v, mixture = q.double(), k.double(), v.double(), mixture.double()
    (batch, _, height, width), (h, w), parts = q.shape, k.shape[-2:], mixture.shape[0]
    ry, rx, reach = -(-height // h), -(-width // w), window // 2
    out = torch.zeros(batch, v.shape[1], height, width, dtype=torch.float64)
    for b in range(batch):
        pi = torch.softmax(mixture @ k[b].flatten(1).mean(1), dim=0)
        for y in range(height):
            for x in range(width):
                keys, values = [], []
                for i in range(y // ry - reach, y // ry + reach + 1):
                    for j in range(x // rx - reach, x // rx + reach + 1):
                        inside = 0 <= i < h and 0 <= j < w
                        keys.append(k[b, :, i, j] if inside else torch.zeros_like(k[b, :, 0, 0]))
                        values.append(v[b, :, i, j] if inside else torch.zeros_like(v[b, :, 0, 0]))
                keys, values = torch.stack(keys), torch.stack(values)
                for n, (qn, kn) in enumerate(zip(q[b, :, y, x].chunk(parts), keys.chunk(parts, 1), strict=True)):
                    logits = kn @ qn if similarity == "dot" else -(kn - qn).square().sum(1)
                    out[b, :, y, x] += pi[n] * torch.softmax(scale * logits, 0) @ values
    return out


@pytest.mark.parametrize(("size", "coarse"), [((6, 8), (3, 4)), ((5, 7), (3, 4)), ((4, 5), (4, 5)), ((9, 4), (3, 1))])
@pytest.mark.parametrize("similarity", ["dot", "euclidean"])
def test_local_attention_equals_the_loop(size, coarse, similarity):
    generator = torch.Generator().manual_seed(0)
    q = torch.randn(2, 8, *size, generator=generator)
    k, v = torch.randn(2, 8, *coarse, generator=generator), torch.randn(2, 6, *coarse, generator=generator)
    w = torch.randn(4, 8, generator=generator)
    out = local_mixture_attention(q, k, v, w, window=3, similarity=similarity, scale=0.7)
    expected = dense_local(q, k, v, w, window=3, similarity=similarity, scale=0.7)
    assert out.shape == (2, 6, *size)
    assert (out - expected).abs().max() < 1e-5 * expected.abs().max()


def test_local_attention_gradcheck_and_sizes():
    generator = torch.Generator().manual_seed(0)
    shapes = [(1, 2, 3, 4), (1, 2, 2, 2), (1, 2, 2, 2), (2, 2)]
    args = [torch.randn(s, generator=generator, dtype=torch.float64).requires_grad_() for s in shapes]
    assert gradcheck(lambda *x: local_mixture_attention(*x, window=3), args)
    with pytest.raises(ValueError, match="no ceil-division"):
        local_mixture_attention(
            torch.zeros(1, 2, 5, 5), torch.zeros(1, 2, 4, 4), torch.zeros(1, 2, 4, 4), args[3], window=3
        )
