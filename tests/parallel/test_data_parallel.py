"""Two devices against one."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from fpt.core.config import get_cfg
from fpt.core.config_node import CfgNode
from fpt.modeling.build import build_model
from fpt.parallel import data_parallel
from fpt.parallel.data_parallel import DataParallel

TWO = ("cpu", "cpu")


def deterministic_cfg() -> CfgNode:
    """A small Mask R-CNN with FPT in which nothing is left to chance: all anchors and RoIs are taken."""
    cfg = get_cfg()
    cfg.MODEL.CONV_BODY = "FPN.torchvision.mobilenet_v3_small_fpt"
    cfg.MODEL.MASK_ON = cfg.RESNETS.USE_GN = cfg.FPN.USE_GN = True
    cfg.RESNETS.FREEZE_AT = 0
    cfg.FPN.DIM = cfg.FAST_RCNN.MLP_HEAD_DIM = cfg.MRCNN.DIM_REDUCED = 16
    cfg.TRAIN.BATCH_SIZE_PER_IM = cfg.TRAIN.RPN_BATCH_SIZE_PER_IM = 100_000
    cfg.TRAIN.FG_FRACTION = cfg.TRAIN.RPN_FG_FRACTION = 1.0
    cfg.TRAIN.RPN_POST_NMS_TOP_N = cfg.TEST.RPN_POST_NMS_TOP_N = 30
    cfg.TEST.SCORE_THRESH = 0.01
    cfg.TEST.DETECTIONS_PER_IM = 10
    cfg.MODEL.FPT.DROPBLOCK_KEEP_PROB = 1.0
    return cfg


def small_model() -> nn.Module:
    torch.manual_seed(0)
    return build_model(deterministic_cfg(), num_classes=4)


def make_images(*sizes: tuple[int, int]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randint(0, 256, (3, h, w), dtype=torch.uint8, generator=generator) for h, w in sizes]


def target(num_objects: int) -> dict[str, Tensor]:
    boxes = torch.tensor([[4.0, 4.0, 40.0, 50.0], [20.0, 10.0, 60.0, 44.0]])[:num_objects]
    masks = torch.ones(num_objects, 112, 112, dtype=torch.uint8)
    return {"boxes": boxes, "labels": torch.tensor([1, 3])[:num_objects], "masks": masks}


def losses_and_gradients(run: nn.Module, model: nn.Module, *inputs: object) -> tuple[dict[str, Tensor], list[Tensor]]:
    model.zero_grad()
    losses = run(*inputs)
    sum(losses.values()).backward()
    return losses, [p.grad.clone() for p in model.parameters()]


@pytest.mark.parametrize("num_images", [1, 2, 3])
def test_losses_and_gradients_are_those_of_one_device(num_images: int) -> None:
    model = small_model()
    images, targets = make_images(*[(64, 64)] * num_images), [target(i) for i in (2, 0, 1)][:num_images]
    expected, gradients = losses_and_gradients(model, model, images, targets)
    losses, ours = losses_and_gradients(DataParallel(model, devices=TWO), model, images, targets)
    assert set(losses) == set(expected)
    for name, loss in losses.items():
        torch.testing.assert_close(loss, expected[name], rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(ours, gradients, rtol=1e-4, atol=1e-5)


def test_each_device_has_a_padded_size_of_its_own() -> None:
    model = small_model()
    images, targets = make_images((64, 64), (40, 120)), [target(2), target(1)]
    shapes: list[tuple[int, ...]] = []
    model.backbone.register_forward_pre_hook(lambda _, inputs: shapes.append(tuple(inputs[0].shape)))
    losses, ours = losses_and_gradients(DataParallel(model, devices=TWO), model, images, targets)
    assert sorted(shapes) == [(1, 3, 64, 64), (1, 3, 64, 128)]
    model.zero_grad()
    alone = [model([image], [one]) for image, one in zip(images, targets, strict=True)]
    (sum(sum(part.values()) for part in alone) / 2).backward()
    for name, loss in losses.items():
        torch.testing.assert_close(loss, (alone[0][name] + alone[1][name]) / 2)
    torch.testing.assert_close(ours, [p.grad for p in model.parameters()], rtol=1e-4, atol=1e-5)


def test_detections_come_in_the_order_of_the_images() -> None:
    model = small_model().eval()
    images = make_images((64, 64), (64, 64), (50, 90))
    with torch.inference_mode():
        found, expected = DataParallel(model, devices=TWO)(images), model(images)
    assert sum(len(item["boxes"]) for item in expected) > 0
    torch.testing.assert_close(found, expected)


class Recorder(nn.Module):
    """Returns a loss a batch, and keeps where and how it ran."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 1)
        self.norm = nn.BatchNorm1d(2)
        self.shared = self.linear  # shared: it must stay one parameter in the replica
        self.seen: list[tuple[object, ...]] = []

    def forward(self, x: Tensor, *, info: list[Tensor], names: list[str] | None = None) -> dict[str, Tensor]:
        y = self.linear(self.norm(x)) + self.shared(x)
        self.seen.append((x.shape[0], names, y.dtype))
        return {"loss": y.float().mean()}


def test_keywords_modes_and_the_state_of_the_module() -> None:
    module = Recorder()
    run = DataParallel(module, devices=("cpu", "cpu"), cpu_keywords=["info"])
    x = torch.randn(5, 2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        run(x, info=[torch.zeros(1)] * 5, names=list("abcde"))["loss"].backward()
    sizes = sorted((size, names) for size, names, _ in module.seen)
    assert sizes == [(2, ["a", "b"]), (3, ["c", "d", "e"])]
    assert {dtype for *_, dtype in module.seen} == {torch.bfloat16}
    assert set(run.state_dict()) == {f"module.{name}" for name in module.state_dict()}
    assert module.norm.num_batches_tracked == 1
    assert not hasattr(module, "_is_replica")


@pytest.fixture
def one_cell() -> Recorder:
    return Recorder().eval()


def test_tensors_move_except_those_that_stay(one_cell: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    moved: list[Tensor] = []
    monkeypatch.setattr(data_parallel, "_to_device", lambda value, device: moved.append(value) or value)
    run = DataParallel(one_cell, devices=("cpu",), cpu_keywords=["info"])
    x, info = torch.zeros(1, 2), [torch.zeros(1)]
    run(x, info=info, names=["a"])
    assert [type(value) for value in moved] == [Tensor, list]
    assert moved[1] == ["a"]


def test_wrong_inputs(one_cell: Recorder) -> None:
    with pytest.raises(ValueError, match="devices is empty"):
        DataParallel(one_cell, devices=())
    run = DataParallel(one_cell, devices=TWO)
    with pytest.raises(ValueError, match=r"lengths \[1, 2\]"):
        run(torch.zeros(2, 2), info=[torch.zeros(1)])
    with pytest.raises(ValueError, match=r"lengths \[0\]"):
        run([])


def test_error_of_a_replica_is_raised_as_it_is() -> None:
    model = small_model()
    with pytest.raises(ValueError, match="boxes"):
        DataParallel(model, devices=TWO)(make_images((64, 64), (64, 64)), [target(1), {"labels": torch.ones(1)}])
