"""The names of parts that a configuration holds, checked before anything is read or built."""

from __future__ import annotations

from fpt.core.config_node import CfgNode
from fpt.evaluation.evaluate import find_evaluators
from fpt.modeling.build import check_part_names
from fpt.solver.build import check_solver_names


def check_names(cfg: CfgNode) -> None:
    """Raise UserError where a backbone, neck, head, optimizer, policy or evaluator is named that there is not."""
    check_part_names(cfg)
    check_solver_names(cfg)
    find_evaluators(cfg.TEST.EVALUATOR)
