"""The neck as a traced graph: torch.export, ONNX and torch.compile give what eager gives."""

from __future__ import annotations

from collections import OrderedDict
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from fpt.layers.norm import group_norm
from fpt.modeling.neck.area import WHOLE
from fpt.modeling.neck.fpt import FeaturePyramidTransformer
from fpt.modeling.neck.network import FeaturePyramidTransformerNetwork
from fpt.modeling.neck.pyramid_keys import key_tokens, pooled_size
from fpt.modeling.neck.query_grid import query_grid

pytestmark = pytest.mark.skipif(
    tuple(int(part) for part in torch.__version__.split(".")[:2]) < (2, 14),
    reason="older versions cannot trace torch.sym_max and the like; docs/neck.md says so",
)


class _Model(nn.Module):
    """Two convolutions for a backbone, and the neck."""

    def __init__(self, **settings: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        norm = partial(group_norm, num_groups=4)
        self.first, self.second = (nn.Conv2d(c, 6, 3, stride=2, padding=1) for c in (3, 6))
        transformer = FeaturePyramidTransformer(in_channels=8, num_levels=2, norm=norm, **settings)
        self.neck = FeaturePyramidTransformerNetwork([6, 6], 8, norm_layer=norm, transformer=transformer)

    def forward(self, images: Tensor) -> OrderedDict[str, Tensor]:
        fine = self.first(images)
        return self.neck(OrderedDict(fine=fine, coarse=self.second(F.relu(fine))))


def check(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    for name, y in expected.items():
        assert (found[name] - y).abs().max() <= 1e-4 * y.abs().max(), name


@pytest.mark.parametrize("settings", [{"max_keys": 40}, {"local_window": 3}])
@torch.no_grad()
def test_a_fixed_size_exports(settings: dict[str, int]) -> None:
    model, images = _Model(**settings).eval(), torch.randn(1, 3, 33, 47)
    check(torch.export.export(model, (images,)).module()(images), model(images))


@torch.no_grad()
def test_free_height_and_width_export() -> None:
    model = _Model(max_keys=0).eval()
    free = {2: torch.export.Dim.AUTO, 3: torch.export.Dim.AUTO}
    exported = torch.export.export(model, (torch.randn(1, 3, 33, 47),), dynamic_shapes=(free,)).module()
    for size in [(33, 47), (64, 17), (12, 10), (101, 53)]:
        images = torch.randn(1, 3, *size)
        check(exported(images), model(images))


def test_pooled_size_of_symbols_is_that_of_numbers() -> None:
    class Tokens(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return key_tokens(x, None, 50).tokens

    free = {2: torch.export.Dim.AUTO, 3: torch.export.Dim.AUTO}
    exported = torch.export.export(Tokens(), (torch.randn(1, 2, 9, 11),), dynamic_shapes=(free,)).module()
    for size in [(9, 11), (5, 6), (4, 40), (40, 4), (31, 17)]:
        x = torch.randn(1, 2, *size)
        rows, columns = pooled_size(*size, 50)
        torch.testing.assert_close(exported(x), F.adaptive_avg_pool2d(x, (rows, columns)).flatten(2).mT)


def test_squares_of_symbols_are_those_of_numbers() -> None:
    class Squares(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            grid = query_grid(x, WHOLE, 4)
            return grid.means(x), grid.bring_back(grid.means(x), x.shape[-2:])

    free = {2: torch.export.Dim.AUTO, 3: torch.export.Dim.AUTO}
    exported = torch.export.export(Squares(), (torch.randn(1, 2, 9, 11),), dynamic_shapes=(free,)).module()
    for size in [(9, 11), (8, 6), (5, 40), (40, 5), (31, 17)]:
        x = torch.randn(1, 2, *size)
        for found, expected in zip(exported(x), Squares()(x), strict=True):
            torch.testing.assert_close(found, expected)


@pytest.mark.slow
@torch.no_grad()
def test_onnxruntime_gives_the_same(tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    onnxruntime = pytest.importorskip("onnxruntime")
    model, images = _Model(max_keys=40).eval(), torch.randn(1, 3, 33, 47)
    program = torch.onnx.export(torch.export.export(model, (images,)), dynamo=True, verbose=False)
    program.save(tmp_path / "neck.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "neck.onnx", providers=["CPUExecutionProvider"])
    expected = model(images)
    outputs = session.run(None, {session.get_inputs()[0].name: np.asarray(images)})
    check(dict(zip(expected, map(torch.from_numpy, outputs), strict=True)), expected)


@pytest.mark.parametrize("is_training", [False, True])
def test_compiles_without_a_break(is_training: bool) -> None:
    """The graph is one (fullgraph) and its gradients are eager's; the code generator is left out, it takes a minute."""
    model, images = _Model(max_keys=40).train(is_training), torch.randn(2, 3, 33, 47)
    model.neck.transformer.dropblock.keep_prob = 1.0
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    gradients = []
    for function in (model, compiled):
        model.zero_grad()
        torch.manual_seed(1)
        sum((y * torch.randn_like(y)).sum() for y in function(images).values()).backward()
        gradients.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
    check(compiled(images), model(images))
    for eager, traced in zip(*gradients, strict=True):
        assert (eager - traced).abs().max() <= 1e-3 * eager.abs().max() + 1e-5


def test_compiles_with_padded_images() -> None:
    transformer = _Model(max_keys=20).neck.transformer.eval()
    maps = OrderedDict(fine=torch.randn(2, 8, 16, 20), coarse=torch.randn(2, 8, 8, 10))
    sizes = {"sizes_hw": [(40, 50), (64, 80)], "padded_hw": (64, 80)}
    compiled = torch.compile(transformer, fullgraph=True, backend="aot_eager")
    with torch.no_grad():
        check(compiled(maps, **sizes), transformer(maps, **sizes))
