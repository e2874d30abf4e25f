"""Feature Pyramid Transformer: a research training framework for object detection and instance segmentation.

The names below are loaded when they are first used, so that ``import fpt`` alone loads neither torch nor anything else.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fpt.core.config import get_cfg, load_cfg
    from fpt.modeling.build import build_model
    from fpt.modeling.neck.fpt import FeaturePyramidTransformer
    from fpt.registry import (
        register_backbone,
        register_box_head,
        register_dataset_reader,
        register_evaluator,
        register_keypoint_head,
        register_lr_policy,
        register_mask_head,
        register_neck,
        register_optimizer,
    )
    from fpt.run.evaluate import evaluate
    from fpt.run.options import EvaluationOptions, RunOptions
    from fpt.run.predictor import Prediction, Predictor
    from fpt.run.train import TrainResult, train

__version__ = "0.1.0"

# Before torch is loaded. GNU OpenMP's threads spin for long while they wait for one another: two jobs that share two
# cores then run up to a hundred times slower than one alone. With a short spin one job alone loses about 5 %.
os.environ.setdefault("GOMP_SPINCOUNT", "20000")

_MODULE_OF = {
    "get_cfg": "fpt.core.config",
    "load_cfg": "fpt.core.config",
    "build_model": "fpt.modeling.build",
    "FeaturePyramidTransformer": "fpt.modeling.neck.fpt",
    "RunOptions": "fpt.run.options",
    "EvaluationOptions": "fpt.run.options",
    "train": "fpt.run.train",
    "TrainResult": "fpt.run.train",
    "evaluate": "fpt.run.evaluate",
    "Predictor": "fpt.run.predictor",
    "Prediction": "fpt.run.predictor",
    "register_backbone": "fpt.registry",
    "register_box_head": "fpt.registry",
    "register_dataset_reader": "fpt.registry",
    "register_evaluator": "fpt.registry",
    "register_lr_policy": "fpt.registry",
    "register_keypoint_head": "fpt.registry",
    "register_mask_head": "fpt.registry",
    "register_neck": "fpt.registry",
    "register_optimizer": "fpt.registry",
}
"""Where each public name is defined."""

__all__ = [
    "EvaluationOptions",
    "FeaturePyramidTransformer",
    "Prediction",
    "Predictor",
    "RunOptions",
    "TrainResult",
    "__version__",
    "build_model",
    "evaluate",
    "get_cfg",
    "load_cfg",
    "register_backbone",
    "register_box_head",
    "register_dataset_reader",
    "register_evaluator",
    "register_lr_policy",
    "register_keypoint_head",
    "register_mask_head",
    "register_neck",
    "register_optimizer",
    "train",
]


def __getattr__(name: str) -> Any:
    """Load a public name; called by Python for names that the module does not have yet (PEP 562)."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'fpt' has no attribute {name!r}; it offers {', '.join(__all__)}")
    value = getattr(importlib.import_module(_MODULE_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names, loaded or not."""
    return sorted(__all__)
