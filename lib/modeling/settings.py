"""What the builders read from the configuration for a part that is chosen by name: the one argument of its factory.

A factory takes what it needs. A new field breaks none, which a new keyword argument would.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

from torch import nn

from fpt.layers.norm import NormBuilder

Settings = TypeVar("Settings")


class PixelValues(NamedTuple):
    """How the images were prepared that a backbone's published weights were trained on.

    A backbone may say it as its attribute ``pixel_values``; options of the pixels that are `auto` follow it,
    and others are warned of.

    Attributes:
        pixel_format: ``RGB`` or ``BGR``.
        means, stds: of each channel in that order, 0..255.
    """

    pixel_format: str
    means: tuple[float, float, float]
    stds: tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class Conventions:
    """What frameworks count differently, and weights that were trained there expect: docs/legacy.md.

    Attributes:
        anchor_rounding: ``none``, ``detectron`` or ``torchvision``; see AnchorGenerator.
        anchor_offset: centre of the anchors of cell (0, 0), in cells.
        is_aligned: RoIAlign samples half a cell lower, where the cells' centres are.
        roi_margin: pixels that the last column and row of a RoI lie before its edge, where it is pooled and where key
            points are placed in it.
        over_batch: losses of the heads are means over all RoIs of a batch, not over its images.
        box_beta: distance at which the smooth L1 of the box head becomes linear.
        proposals_over_batch: while training, the best proposals of a pyramid are those of the batch, not of each image.
        inclusive_corners: boxes were scaled with the corners that belong to them (width = x1 - x0 + 1).
        hides_padding: the neck does not see what lies beyond the images of a batch.
        fades_at_border: heat maps of key points fall off to zero beyond their border, where they are enlarged.
    """

    anchor_rounding: str = "none"
    anchor_offset: float = 0.5
    is_aligned: bool = True
    roi_margin: float = 0.0
    over_batch: bool = False
    box_beta: float = 1.0
    proposals_over_batch: bool = False
    inclusive_corners: bool = False
    hides_padding: bool = True
    fades_at_border: bool = False


CONVENTIONS: dict[str, Conventions] = {
    "auto": Conventions(),
    "off": Conventions(),
    "detectron": Conventions(
        anchor_rounding="detectron",
        is_aligned=False,
        roi_margin=1.0,
        over_batch=True,
        proposals_over_batch=True,
        inclusive_corners=True,
        hides_padding=False,
        fades_at_border=True,
    ),
    "torchvision": Conventions(
        anchor_rounding="torchvision",
        anchor_offset=0.0,
        is_aligned=False,
        over_batch=True,
        box_beta=1 / 9,
        hides_padding=False,
    ),
}
"""By the values of MODEL.LEGACY."""


@dataclass(frozen=True, kw_only=True)
class BackboneSettings:
    """Options of a backbone.

    Attributes:
        norm: builder of GroupNorm, to train from scratch (RESNETS.USE_GN), or of a BatchNorm that learns
            (RESNETS.USE_SYNC_BN); None = frozen affine BatchNorm.
        freeze_at: 0 trains all, 1 freezes the stem, 2 the first stage too, and so on; 5 = everything.
        stride_in_1x1: a bottleneck strides in its first 1x1 convolution.
        base_channels: channels of the stem.
        groups: of the 3x3 convolutions (ResNeXt).
        width_per_group: channels of each group in the first stage.
        res4_dilation: dilation of the last stage but one; above 1 it keeps the stride of the stage before.
        res5_dilation: dilation of the last stage, likewise.
        multi_grid: factors of the dilation of the last stage's blocks; none = 1.
        deep_stem: three 3x3 convolutions in the place of the stem's 7x7.
    """

    norm: NormBuilder | None
    freeze_at: int
    stride_in_1x1: bool
    base_channels: int
    groups: int = 1
    width_per_group: int = 64
    res4_dilation: int = 1
    res5_dilation: int = 1
    multi_grid: tuple[int, ...] = ()
    deep_stem: bool = False


@dataclass(frozen=True, kw_only=True)
class NeckSettings:
    """Options of a neck, and the maps that it gets.

    Attributes:
        in_channels: channels of the backbone's maps, finest first.
        strides: their strides in pixels.
        out_channels: channels of each output.
        norm: builder of GroupNorm (FPN.USE_GN), or None.
        zero_init_lateral: start the lateral convolutions at zero.
        kernels, bins, rates: of the pyramids of one resolution: UFP, PPM and ASPP.
    """

    in_channels: tuple[int, ...]
    strides: tuple[int, ...]
    out_channels: int
    norm: NormBuilder | None
    zero_init_lateral: bool
    kernels: tuple[int, ...] = (1, 7, 15, 31)
    bins: tuple[int, ...] = (1, 2, 3, 6)
    rates: tuple[int, ...] = (12, 24, 36)


class Res5(NamedTuple):
    """The last stage of the backbone's network, for heads that run it on RoI features.

    Attributes:
        make: ``make(stride=, dilation=)`` -> a new stage from ``in_channels`` of the stage before.
        out_channels: channels that it makes.
    """

    make: Callable[..., nn.Module]
    out_channels: int


@dataclass(frozen=True, kw_only=True)
class BoxHeadSettings:
    """Options of a box head.

    Attributes:
        in_channels: channels of the RoI features.
        resolution: their side in cells.
        num_inputs: RoI features of so many levels come in: all of them if the head pools adaptively, else 1.
        hidden_channels: outputs of the fully connected layers.
        conv_channels: channels of the convolutions.
        num_convs: convolutions.
        norm: builder of GroupNorm, for heads that have it.
        res5: the stage that a C4 backbone lacks; None where the backbone has it, or is no ResNet.
    """

    in_channels: int
    resolution: int
    num_inputs: int
    hidden_channels: int
    conv_channels: int
    num_convs: int
    norm: NormBuilder
    res5: Res5 | None = None


@dataclass(frozen=True, kw_only=True)
class MaskHeadSettings:
    """Options of a mask head.

    Attributes:
        in_channels: channels of the RoI features.
        resolution: their side in cells.
        num_inputs: RoI features of so many levels come in: all of them if the head pools adaptively, else 1.
        num_masks: masks a RoI: one a class, background included, or 1 for all.
        channels: channels of the convolutions.
        dilation: of the 3x3 convolutions.
        init: how the convolutions start: ``GaussianFill`` or ``MSRAFill``.
        norm: builder of GroupNorm, for heads that have it.
        num_convs: 3x3 convolutions, where the head's name does not say it.
        res5: the stage that a C4 backbone lacks; None where the backbone has it, or is no ResNet.
    """

    in_channels: int
    resolution: int
    num_inputs: int
    num_masks: int
    channels: int
    dilation: int
    init: str
    norm: NormBuilder
    num_convs: int = 4
    res5: Res5 | None = None


@dataclass(frozen=True, kw_only=True)
class KeypointHeadSettings:
    """Options of a keypoint head.

    Attributes:
        in_channels: channels of the RoI features.
        resolution: their side in cells.
        num_inputs: RoI features of so many levels come in: all of them if the head pools adaptively, else 1.
        num_keypoints: heat maps a RoI.
        size: side of the heat maps in cells.
        channels: channels of the convolutions.
        num_convs: convolutions.
        init: how the convolutions start: ``GaussianFill`` or ``MSRAFill``.
        norm: builder of GroupNorm, for heads that have it.
        fades_at_border: see Conventions.
    """

    in_channels: int
    resolution: int
    num_inputs: int
    num_keypoints: int
    size: int
    channels: int
    num_convs: int
    init: str
    norm: NormBuilder
    fades_at_border: bool = False


@dataclass(frozen=True)
class HeadEntry(Generic[Settings]):
    """A box, mask or keypoint head by name.

    Attributes:
        make: the factory. A box head takes ``num_inputs`` tensors [R, C, P, P], returns [R, out_channels] and says
            ``out_channels``; a mask head returns logits float32 [R, num_masks, M, M], a keypoint head float32
            [R, num_keypoints, size, size].
        is_adaptive: its RoI features come from every level (adaptive feature pooling), not from the one that fits.
        shares_res5: it gets what the box head's res5 makes of the RoI features of the box head's resolution.
    """

    make: Callable[[Settings], nn.Module]
    is_adaptive: bool = False
    shares_res5: bool = False


BackboneFactory = Callable[[BackboneSettings], nn.Module]
"""Makes a module with ``out_channels`` and ``strides``, from images [N, 3, H, W] to maps by name, finest first."""

NeckFactory = Callable[[NeckSettings], nn.Module]
"""Makes a module with ``out_channels``: ``neck(maps, sizes_hw=, padded_hw=)`` -> maps by name, finest first.

It says ``strides`` where they are not those of the backbone.
"""
