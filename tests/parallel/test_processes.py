"""Two processes against one: what they agree on, and what they learn."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn

from fpt.core.config import get_cfg
from fpt.modeling.build import build_model
from fpt.parallel.processes import distribute, process_group
from fpt.utils import distributed
from fpt.utils.errors import UserError

STEPS = 20
LEARNING_RATE = 5e-4
"""Gentle: which proposals are kept is a matter of rounding, and at a high rate rounding errors grow tenfold a step."""


def small_model() -> nn.Module:
    """A Mask R-CNN with FPT that takes all anchors and RoIs, so that nothing is left to chance."""
    cfg = get_cfg()
    cfg.MODEL.CONV_BODY = "FPN.ResNet18_conv5_body_fpt"
    cfg.MODEL.MASK_ON = cfg.RESNETS.USE_GN = cfg.FPN.USE_GN = True
    cfg.RESNETS.FREEZE_AT, cfg.RESNETS.BASE_CHANNELS = 0, 16
    cfg.FPN.DIM = cfg.FAST_RCNN.MLP_HEAD_DIM = cfg.MRCNN.DIM_REDUCED = 16
    cfg.TRAIN.BATCH_SIZE_PER_IM = cfg.TRAIN.RPN_BATCH_SIZE_PER_IM = 100_000
    cfg.TRAIN.FG_FRACTION = cfg.TRAIN.RPN_FG_FRACTION = 1.0
    cfg.TRAIN.RPN_POST_NMS_TOP_N = 30
    cfg.MODEL.FPT.DROPBLOCK_KEEP_PROB = 1.0
    torch.manual_seed(0)
    return build_model(cfg, num_classes=4)


def batch(step: int) -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    """Two images with 0 to 2 objects."""
    generator = torch.Generator().manual_seed(step)
    images = [torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8, generator=generator) for _ in range(2)]
    targets = []
    for index in range(2):
        count = (step + index) % 3
        corners = torch.rand(count, 2, 2, generator=generator) * 30
        boxes = torch.cat([corners[:, 0], corners[:, 0] + corners[:, 1] + 4], dim=1)
        masks = torch.ones(count, 112, 112, dtype=torch.uint8)
        targets.append({"boxes": boxes, "labels": torch.arange(1, count + 1), "masks": masks})
    return images, targets


def learn(part: slice) -> dict[str, Any]:
    """Losses of the whole batches, and weights after STEPS steps on this part of each batch."""
    model = small_model()
    run = distribute(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE, momentum=0.9)
    history = []
    for step in range(STEPS):
        images, targets = batch(step)
        losses = run(images[part], targets[part])
        history.append(distributed.mean_over_processes(torch.stack(list(losses.values()))))
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
    return {"losses": torch.stack(history), "weights": model.state_dict()}


class Halves(nn.Module):
    """Either half may go unused; the third never is used."""

    def __init__(self) -> None:
        super().__init__()
        self.parts = nn.ModuleList(nn.Linear(1, 1, bias=False) for _ in range(3))

    def forward(self, used: list[int]) -> Tensor:
        return sum((self.parts[i].weight.sum() for i in used), torch.zeros(()))


def unused_parameters() -> list[float | None]:
    """Gradients where the processes use different parameters, and where both leave one out."""
    model = Halves()
    run = distribute(model)
    run([0] if distributed.is_main() else [1]).backward()
    run([0, 1]).backward()
    return [None if part.weight.grad is None else float(part.weight.grad) for part in model.parts]


def refuse() -> None:
    raise UserError("no such file")


def agree() -> dict[str, Any]:
    """What each function of the module answers."""
    rank = distributed.rank()
    distributed.barrier()
    try:
        distributed.from_main(refuse)
        message = ""
    except UserError as error:
        message = str(error)
    return {
        "who": (rank, distributed.world_size(), distributed.is_main(), distributed.is_distributed()),
        "mean": distributed.mean_over_processes(torch.tensor([1.0 + rank, float("nan") if rank else 0.0])),
        "max": distributed.max_over_processes(15 * rank),
        "everywhere": distributed.gather_everywhere({"rank": rank}),
        "main": distributed.gather_on_main(rank),
        "from_main": distributed.from_main(lambda: f"from {rank}"),
        "message": message,
        "share": distributed.share_of_range(3, 8),
        "unused": unused_parameters(),
    }


def work(rank: int, folder: str, port: int) -> None:
    torch.set_num_threads(1)
    patch = pytest.MonkeyPatch()
    address = {"RANK": rank, "WORLD_SIZE": 2, "LOCAL_RANK": rank, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    for name, value in address.items():
        patch.setenv(name, str(value))
    with process_group():
        torch.save({**agree(), **learn(slice(rank, rank + 1))}, f"{folder}/{rank}.pt")
    assert not dist.is_initialized()
    os._exit(0)  # the model still holds the group, whose threads can abort a Python that ends (pytorch PR 179291)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory, _importable_tests: None) -> list[dict[str, Any]]:
    """What two processes found."""
    folder: Path = tmp_path_factory.mktemp("processes")
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    port = store.port
    del store
    mp.spawn(work, args=(str(folder), port), nprocs=2)
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


def test_processes_agree(results: list[dict[str, Any]]) -> None:
    assert [result["who"] for result in results] == [(0, 2, True, True), (1, 2, False, True)]
    assert [result["main"] for result in results] == [[0, 1], None]
    assert [result["share"] for result in results] == [(3, 5), (5, 8)]
    for result in results:
        assert result["mean"][0] == 1.5
        assert result["mean"][1].isnan()
        assert result["max"] == 15
        assert result["everywhere"] == [{"rank": 0}, {"rank": 1}]
        assert (result["from_main"], result["message"]) == ("from 0", "no such file")


def test_parameters_may_go_unused_on_some_or_all_processes(results: list[dict[str, Any]]) -> None:
    assert [result["unused"] for result in results] == [[1.5, 1.5, None]] * 2


def test_two_processes_learn_what_one_does(results: list[dict[str, Any]]) -> None:
    alone = learn(slice(0, 2))
    for result in results:
        torch.testing.assert_close(result["losses"], alone["losses"], rtol=0, atol=1e-5)
        for name, value in alone["weights"].items():
            torch.testing.assert_close(result["weights"][name], value, rtol=0, atol=1e-5)
    start = small_model().state_dict()
    assert max((value - start[name]).abs().max() for name, value in alone["weights"].items()) > 1e-2


def test_alone_everything_answers_for_one_process() -> None:
    model = nn.Linear(1, 1)
    assert distribute(model) is model
    assert distributed.share_of_range(2, 9) == (2, 9)
    assert distributed.gather_everywhere(1) == distributed.gather_on_main(1) == [1]
    assert distributed.max_over_processes(7) == 7
    assert (distributed.rank(), distributed.world_size(), distributed.local_world_size()) == (0, 1, 1)
    with pytest.raises(UserError, match="no such file"):
        distributed.from_main(refuse)
    distributed.barrier()


def test_incomplete_environment_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(UserError, match="WORLD_SIZE is 2, but MASTER_ADDR, MASTER_PORT is not set"), process_group():
        pass
