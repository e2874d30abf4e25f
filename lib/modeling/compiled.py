"""torch.compile for the part of a detector that gains by it."""

from __future__ import annotations

import os
import shutil

from torch import nn

from fpt.utils.errors import UserError


def compile_backbone(model: nn.Module, *, backend: str = "inductor") -> None:
    """Compile ``model.backbone`` in place: names of parameters stay, and so do checkpoints.

    The backbone takes most of the time of a step and knows no sizes of single images, of which the other parts would be
    compiled anew. Each size of a batch is compiled when it first comes, the later ones in general.

    Raises:
        UserError: there is no C++ compiler for the CPU's code.
    """
    backbone = model.get_submodule("backbone")
    is_on_cpu = all(not parameter.is_cuda for parameter in backbone.parameters())
    compilers = [os.environ.get("CXX", ""), "g++", "clang++"]
    if backend == "inductor" and is_on_cpu and not any(shutil.which(name) for name in compilers if name):
        raise UserError("MODEL.COMPILE needs a C++ compiler on a CPU: install g++ or clang++, or set CXX")
    backbone.compile(backend=backend)
