"""Each recipe of the paper's tables builds exactly the transformers of its row."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from fpt.core.config import load_cfg
from fpt.core.config_node import CfgNode
from fpt.layers.sync_batch_norm import SyncBatchNorm2d
from fpt.modeling.build import build_model
from fpt.modeling.detector import GeneralizedRCNN

ST, GT, RT = "self", "grounding", "rendering"
NO_WEIGHTS = ["MODEL.LOAD_IMAGENET_PRETRAINED_WEIGHTS", "False"]
ROWS: dict[str, tuple[str, int, tuple[str, ...]]] = {
    "ablation/bfp": ("BFP", 50, ()),
    "ablation/bfp_st": ("BFP", 50, (ST,)),
    "ablation/bfp_gt": ("BFP", 50, (GT,)),
    "ablation/bfp_rt": ("BFP", 50, (RT,)),
    "ablation/bfp_st_gt": ("BFP", 50, (ST, GT)),
    "ablation/bfp_st_rt": ("BFP", 50, (ST, RT)),
    "ablation/bfp_gt_rt": ("BFP", 50, (GT, RT)),
    "ablation/bfp_st_gt_rt": ("BFP", 50, (ST, GT, RT)),
    "ablation/fpn": ("FPN", 50, ()),
    "ablation/fpn_st_gt_rt": ("FPN", 50, (ST, GT, RT)),
    "ablation/bpa": ("BPA", 50, ()),
    "ablation/bpa_st_gt_rt": ("BPA", 50, (ST, GT, RT)),
    "bfp_R-101": ("BFP", 101, ()),
    "fpn_R-101": ("FPN", 101, ()),
    "bpa_R-101": ("BPA", 101, ()),
    "fpt_R-101": ("BFP", 101, (ST, GT, RT)),
    "fpt_augmented_R-101": ("BFP", 101, (ST, GT, RT)),
}

PARTS = ("_st", "_gt", "_rt", "_st_gt_rt")
FUSIONS_OF_NONE = 4 * (256 * 256 * 9 + 2 * 256)
"""Of the four levels: 3x3 convolutions of a level's own map and their norms, that every row with transformers has."""


def load(root: Path, row: str) -> tuple[CfgNode, GeneralizedRCNN]:
    cfg = load_cfg(root / "configs" / "paper" / f"{row}.yaml", NO_WEIGHTS)
    with torch.device("meta"):
        return cfg, build_model(cfg, num_classes=81)


def test_no_recipe_is_forgotten(root: Path) -> None:
    folder = root / "configs" / "paper"
    found = {
        str(path.relative_to(folder).with_suffix("")) for path in (*folder.glob("*.yaml"), *folder.glob("ablation/*"))
    }
    assert found == set(ROWS)


@pytest.mark.parametrize("row", ROWS)
def test_the_row_has_its_pyramid_and_transformers_alone(root: Path, row: str) -> None:
    name, depth, interactions = ROWS[row]
    cfg, model = load(root, row)
    assert cfg.MODEL.CONV_BODY == f"{name}.ResNet{depth}_conv5_body{'_fpt' if interactions else ''}"
    assert len(model.backbone.layer3) == {50: 6, 101: 23}[depth]
    pyramid, transformer = model.neck.pyramid, model.neck.transformer
    assert (bool(pyramid.outputs), bool(pyramid.merges)) == (name != "BFP", name == "BPA")
    assert (transformer is None) == (interactions == ())
    if transformer is None:
        return
    parts = {ST: transformer.selfs, GT: transformer.groundings, RT: transformer.renderings}
    assert {kind: len(modules) for kind, modules in parts.items()} == {
        kind: number * (kind in interactions) for kind, number in ((ST, 4), (GT, 6), (RT, 6))
    }
    norms = {type(module) for module in transformer.modules() if isinstance(module, (nn.GroupNorm, _BatchNorm))}
    assert norms == {SyncBatchNorm2d}
    assert (transformer.dropblock.block_size, transformer.dropblock.keep_prob) == (5, 0.9)


@pytest.mark.parametrize("row", ROWS)
def test_the_schedule_is_the_published_one(root: Path, row: str) -> None:
    cfg = load_cfg(root / "configs" / "paper" / f"{row}.yaml", NO_WEIGHTS)
    solver = cfg.SOLVER
    assert (solver.BASE_LR, solver.MOMENTUM, solver.WEIGHT_DECAY, solver.GAMMA) == (0.05, 0.9, 1e-4, 0.1)
    assert (solver.TYPE, *solver.STEPS, solver.MAX_ITER) == ("SGD", 0, 120000, 160000, 180000)
    assert (cfg.NUM_GPUS, cfg.TRAIN.BATCH_SIZE_PER_IM, cfg.TEST.SCALE, cfg.TRAIN.MAX_SIZE) == (8, 512, 1000, 1400)
    scales = (1200, 1200, 1000, 800, 600, 400) if "augmented" in row else (1000,)
    assert cfg.TRAIN.SCALES == scales
    assert cfg.RESNETS.IMAGENET_PRETRAINED_WEIGHTS.endswith(f"resnet{ROWS[row][1]}_caffe.pth")
    assert (cfg.FPN.USE_GN, cfg.MODEL.MASK_ON) == (True, True)


def test_the_rows_add_up(root: Path) -> None:
    """Parameters of ST, GT and RT are the same in every row that has them, up to the width of the fusion."""
    sizes = {row: sum(p.numel() for p in load(root, f"ablation/bfp{row}")[1].parameters()) for row in ("", *PARTS)}
    fusions = sizes["_st"] + sizes["_gt"] + sizes["_rt"] - 2 * FUSIONS_OF_NONE
    assert sizes["_st_gt_rt"] == fusions - 2 * sizes[""]
