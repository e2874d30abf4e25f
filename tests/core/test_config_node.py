"""The node of the configuration tree."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import pytest
import yaml

from fpt.core.config_node import CfgNode


@pytest.fixture
def node() -> CfgNode:
    cfg = CfgNode({"A": {"B": 1, "C": (1, 2)}, "D": "text"})
    cfg.cfg_dir = Path("/somewhere")
    return cfg


def test_keys_are_attributes(node: CfgNode) -> None:
    node.A.B = 3
    assert node["A"]["B"] == node.A.B == 3
    assert isinstance(node.A, CfgNode)
    with pytest.raises(AttributeError, match="no option 'X' here; there are B, C"):
        _ = node.A.X


def test_frozen_tree_refuses_every_write(node: CfgNode) -> None:
    node.freeze()
    for write in (
        lambda: setattr(node.A, "B", 2),
        lambda: node.A.update(B=2),
        lambda: node.A.__delitem__("B"),
        lambda: node.A.pop("B"),
        lambda: node.A.clear(),
        lambda: node.A.setdefault("X", 2),
    ):
        with pytest.raises(AttributeError, match="frozen"):
            write()
    node.defrost().A.B = 2
    assert node.A.B == 2


def test_clone_is_independent_and_writable(node: CfgNode) -> None:
    copy = node.freeze().clone()
    copy.A.B = 9
    assert node.A.B == 1
    assert copy.cfg_dir == node.cfg_dir


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda node: pickle.loads(pickle.dumps(node))])
def test_copies_keep_state(node: CfgNode, duplicate) -> None:
    copy = duplicate(node.freeze())
    assert copy == node
    assert copy.is_frozen
    assert copy.A.is_frozen
    assert copy.cfg_dir == node.cfg_dir


def test_dump_is_yaml_without_tags(node: CfgNode) -> None:
    assert yaml.safe_load(node.dump()) == {"A": {"B": 1, "C": [1, 2]}, "D": "text"}


def test_leaves_have_dotted_names(node: CfgNode) -> None:
    assert list(node.leaves()) == [("A.B", 1), ("A.C", (1, 2)), ("D", "text")]
