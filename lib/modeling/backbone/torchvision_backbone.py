"""Classification models of torchvision as detection backbones."""

from __future__ import annotations

import difflib
from collections import OrderedDict
from collections.abc import Iterator

import torch
import torchvision
from torch import Tensor, nn

from fpt.layers.norm import NormBuilder, replace_batch_norm
from fpt.modeling.backbone.resnet import LEVELS, STRIDES, freeze
from fpt.modeling.settings import PixelValues
from fpt.utils.errors import UserError

PROBE = 128
"""Side in pixels of the image that finds out the strides."""

_CONTAINERS = ("features", "trunk_output", "layers")


class TorchvisionBackbone(nn.Module):
    """Maps of strides 4, 8, 16, 32: the last output at each stride of a model that runs its children one after another.

    Parameters keep torchvision's names, so its weights load directly. BatchNorm is replaced: at the few images of a
    detection batch its statistics are noise.

    Args:
        name: of a model in torchvision.models, such as ``mobilenet_v2``.
        norm: builder of what replaces each BatchNorm2d (GroupNorm, to train from scratch); None = frozen affine, for
            trained weights.
        freeze_at: 0 trains everything, 1 freezes what comes before stride 4, 2 the part of stride 4 too, up to 5.
        dilations: of the parts of stride 16 and of stride 32; above 1 the part keeps the stride of the one before.

    Raises:
        UserError: torchvision has no such model, it does not have maps of these strides, or it cannot be dilated.
    """

    pixel_values = PixelValues("RGB", means=(123.675, 116.28, 103.53), stds=(58.395, 57.12, 57.375))

    def __init__(
        self, *, name: str, norm: NormBuilder | None = None, freeze_at: int = 2, dilations: tuple[int, int] = (1, 1)
    ) -> None:
        super().__init__()
        device = torch.get_default_device()
        with torch.device("cpu"):  # where every model can be made and probed
            model = _create(name)
            replace_batch_norm(model, norm)
            channels, last, first = _probe(name, _chain(model))
        model.to(device)
        steps = _chain(model)[: last[-1] + 1]
        roots = {path.split(".")[0] for path, _ in steps}
        for root, child in model.named_children():
            if root in roots:
                self.add_module(root, child)
        self._paths = tuple(path for path, _ in steps)
        self._drop_unused(roots)
        self.level_of_step = dict(zip(last, LEVELS, strict=True))
        self.out_channels = channels
        self.strides = _dilate([step for _, step in steps], last, dilations, name=name)
        self._num_frozen = (0, first, *(index + 1 for index in last))[freeze_at]
        for module in self._steps()[: self._num_frozen]:
            freeze(module)

    def forward(self, x: Tensor) -> OrderedDict[str, Tensor]:
        """Images [N, 3, H, W] -> maps ``res2`` .. ``res5`` of strides 4, 8, 16, 32."""
        maps: OrderedDict[str, Tensor] = OrderedDict()
        for index, step in enumerate(self._steps()):
            x = step(x)
            if index in self.level_of_step:
                maps[self.level_of_step[index]] = x
        return maps

    def train(self, mode: bool = True) -> TorchvisionBackbone:
        """As nn.Module's, but frozen parts stay in evaluation mode."""
        super().train(mode)
        for module in self._steps()[: self._num_frozen]:
            module.eval()
        return self

    def _steps(self) -> list[nn.Module]:
        return [self.get_submodule(path) for path in self._paths]

    def _drop_unused(self, roots: set[str]) -> None:
        for root in roots & set(_CONTAINERS):
            container = self.get_submodule(root)
            for child, _ in list(container.named_children()):
                if f"{root}.{child}" not in self._paths:
                    delattr(container, child)


def _dilate(steps: list[nn.Module], last: tuple[int, ...], dilations: tuple[int, int], *, name: str) -> tuple[int, ...]:
    """Put dilations in the place of the strides of the last two levels, and return the strides that there are then."""
    stride, strides, previous = STRIDES[1], list(STRIDES[:2]), 1
    for level, dilation in zip((2, 3), dilations, strict=True):
        inner = [layer for step in steps[last[level - 1] + 1 : last[level] + 1] for layer in step.modules()]
        convs = [layer for layer in inner if isinstance(layer, nn.Conv2d)]
        if dilation > 1 and not any(max(conv.stride) > 1 for conv in convs):
            raise UserError(f"torchvision's {name} has no strided convolution at stride {STRIDES[level]} to dilate")
        if dilation > 1 and any(side % 2 == 0 for conv in convs for side in conv.kernel_size):
            raise UserError(
                f"torchvision's {name} cannot be dilated: it has convolutions with an even kernel at stride "
                f"{STRIDES[level]}, which have no centre; leave RESNETS.RES4_DILATION and RES5_DILATION at 1"
            )
        for conv in convs if dilation > 1 else ():
            # what loses its stride still sees the cells that it was trained on, those after it are further apart
            own = previous if max(conv.stride) > 1 else dilation
            conv.stride = (1, 1)
            if max(conv.kernel_size) > 1:
                conv.dilation = (own, own)
                conv.padding = tuple(own * (side // 2) for side in conv.kernel_size)
        previous = dilation
        stride *= 2 if dilation == 1 else 1
        strides.append(stride)
    return tuple(strides)


def check_torchvision_name(name: str) -> None:
    """Raise UserError where torchvision has no model of this name; the nearest names are given."""
    known = torchvision.models.list_models(module=torchvision.models)
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3)
        advice = f"; did you mean {' or '.join(near)}?" if near else f"; it has {', '.join(known)}"
        raise UserError(f"torchvision has no model {name!r}{advice}")


def _create(name: str) -> nn.Module:
    check_torchvision_name(name)
    return torchvision.models.get_model(name, weights=None)


def _chain(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """Children in the order in which they run, up to the classifier; containers are opened."""

    def walk() -> Iterator[tuple[str, nn.Module]]:
        for name, child in model.named_children():
            if name in _CONTAINERS:
                yield from ((f"{name}.{inner}", module) for inner, module in child.named_children())
            else:
                yield name, child

    return list(walk())


@torch.no_grad()
def _probe(name: str, steps: list[tuple[str, nn.Module]]) -> tuple[tuple[int, ...], tuple[int, ...], int]:
    """Channels and index of the last step at each of the four strides, and the number of steps of the stem."""
    found: dict[int, tuple[int, int]] = {}
    first: dict[int, int] = {}
    x = torch.zeros(1, 3, PROBE, PROBE)
    for index, (_, step) in enumerate(steps):
        try:
            x = step.eval()(x)
        except (RuntimeError, TypeError, ValueError, AssertionError):
            break  # the classifier, or a model that is no chain
        finally:
            step.train()
        if x.ndim != 4 or x.shape[2] != x.shape[3] or x.shape[2] <= 1:
            break  # global pooling, or channels that do not come second
        stride = PROBE // x.shape[2]
        found[stride] = (x.shape[1], index)
        first.setdefault(stride, index)
    if any(stride not in found for stride in STRIDES):
        seen = ", ".join(str(stride) for stride in sorted(found)) or "none"
        raise UserError(
            f"torchvision's {name} can't be a backbone: maps of strides 4, 8, 16 and 32 are needed, and it has {seen}; "
            "mobilenet_v2, mobilenet_v3_large, resnet50, efficientnet_b0, convnext_tiny, regnet_y_400mf have them"
        )
    channels, last = zip(*(found[stride] for stride in STRIDES), strict=True)
    return tuple(channels), tuple(last), max(first[STRIDES[0]], 1)
