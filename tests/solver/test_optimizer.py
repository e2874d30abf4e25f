"""Parameter groups as Detectron's, and the three optimizers."""

import pytest
import torch
from torch import nn

from fpt.solver.optimizer import make_optimizer, parameter_groups, set_learning_rate
from fpt.utils.errors import UserError

RULES = {"weight_decay": 0.1, "weight_decay_norm": 0.0, "bias_double_lr": True, "bias_weight_decay": False}


def make_model() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.GroupNorm(2, 4), nn.Conv2d(4, 2, 1))


def test_groups_hold_each_parameter_once() -> None:
    model = make_model()
    groups = {group["name"]: group for group in parameter_groups(model, **RULES)}
    assert {name: len(group["params"]) for name, group in groups.items()} == {"weight": 2, "bias": 2, "norm": 2}
    assert {name: group["lr_factor"] for name, group in groups.items()} == {"weight": 1.0, "bias": 2.0, "norm": 1.0}
    assert {name: group["weight_decay"] for name, group in groups.items()} == {"weight": 0.1, "bias": 0.0, "norm": 0.0}


def test_bias_rules_can_be_switched() -> None:
    groups = parameter_groups(make_model(), **{**RULES, "bias_double_lr": False, "bias_weight_decay": True})
    bias = next(group for group in groups if group["name"] == "bias")
    assert (bias["lr_factor"], bias["weight_decay"]) == (1.0, 0.1)


def test_the_backbone_may_have_a_rate_of_its_own() -> None:
    model = nn.Sequential()
    model.add_module("backbone", make_model())
    model.add_module("head", nn.Conv2d(2, 2, 1))
    groups = {group["name"]: group for group in parameter_groups(model, **RULES, backbone_factor=0.1)}
    factors = {name: group["lr_factor"] for name, group in groups.items()}
    assert factors == {"weight": 1, "bias": 2, "backbone weight": 0.1, "backbone bias": 0.2, "backbone norm": 0.1}
    assert set(groups["backbone weight"]["params"]) == {model.backbone[0].weight, model.backbone[2].weight}
    assert [group["name"] for group in parameter_groups(model, **RULES)] == ["weight", "bias", "norm"]


def test_frozen_parameters_are_left_out_and_shared_ones_appear_once() -> None:
    model = make_model()
    model[0].requires_grad_(False)
    model.append(model[2])
    params = [p for group in parameter_groups(model, **RULES) for p in group["params"]]
    assert len(params) == len(set(params)) == 4


def test_nothing_to_train_is_an_error() -> None:
    groups = parameter_groups(make_model().requires_grad_(False), **RULES)
    with pytest.raises(UserError, match="nothing to train"):
        make_optimizer("SGD", groups, lr=0.1, momentum=0.9)


@pytest.mark.parametrize("kind", ["SGD", "Adam", "AdamW"])
def test_each_optimizer_moves_the_weights_at_its_rate(kind: str) -> None:
    model = make_model()
    optimizer = make_optimizer(kind, parameter_groups(model, **RULES), lr=0.1, momentum=0.9)
    assert type(optimizer).__name__ == kind
    set_learning_rate(optimizer, 0.01)
    assert {group["name"]: group["lr"] for group in optimizer.param_groups} == {
        "weight": 0.01,
        "bias": 0.02,
        "norm": 0.01,
    }
    before = model[0].weight.clone()
    model(torch.rand(1, 3, 2, 2)).sum().backward()
    optimizer.step()
    assert not torch.equal(model[0].weight, before)


def test_unknown_optimizer_is_named() -> None:
    with pytest.raises(UserError, match="SOLVER.TYPE is 'Lion'; legal: SGD, Adam, AdamW"):
        make_optimizer("Lion", parameter_groups(make_model(), **RULES), lr=0.1, momentum=0.9)
