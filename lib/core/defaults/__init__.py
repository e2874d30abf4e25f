"""Every option of the framework, one file a group; together they are the tree that ``get_cfg`` returns."""

from fpt.core.defaults.backbone import GROUP_NORM, RESNETS
from fpt.core.defaults.general import DATA_LOADER, GENERAL
from fpt.core.defaults.heads import FAST_RCNN, MRCNN
from fpt.core.defaults.model import MODEL
from fpt.core.defaults.pyramid import FPN, RPN
from fpt.core.defaults.solver import SOLVER
from fpt.core.defaults.test import TEST
from fpt.core.defaults.train import TRAIN
from fpt.core.option import Group

OPTIONS: Group = {
    **GENERAL,
    "DATA_LOADER": DATA_LOADER,
    "TRAIN": TRAIN,
    "TEST": TEST,
    "MODEL": MODEL,
    "SOLVER": SOLVER,
    "FAST_RCNN": FAST_RCNN,
    "MRCNN": MRCNN,
    "RPN": RPN,
    "FPN": FPN,
    "RESNETS": RESNETS,
    "GROUP_NORM": GROUP_NORM,
}

__all__ = ["OPTIONS"]
