"""Box heads: RoI features -> one vector a RoI, and the last layers that make class scores and boxes of it."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from fpt.layers.conv import conv_block, init_weight, linear_block
from fpt.layers.norm import NormBuilder
from fpt.modeling.roi_heads.pooler import MaxFusion


class MLPBoxHead(nn.Module):
    """Two fully connected layers (``roi_2mlp_head``).

    Args:
        in_channels: channels of the RoI features.
        resolution: their side in cells.
        hidden_channels: outputs of both layers.
        num_inputs: levels that come in; above 1 each has its own first layer, fused by their maximum.
        norm: builder of the normalisation after each layer, or None.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        resolution: int,
        hidden_channels: int,
        num_inputs: int = 1,
        norm: NormBuilder | None = None,
    ) -> None:
        super().__init__()
        self.out_channels = hidden_channels
        flat = in_channels * resolution**2
        self.fc1 = MaxFusion(num_inputs=num_inputs, layer=lambda: linear_block(flat, hidden_channels, norm=norm))
        self.fc2 = linear_block(hidden_channels, hidden_channels, norm=norm)

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        """``num_inputs`` tensors [R, C, P, P] -> [R, hidden_channels]."""
        return self.fc2(self.fc1([x.flatten(1) for x in inputs]))


class ConvBoxHead(nn.Module):
    """3x3 convolutions and one fully connected layer (``roi_Xconv1fc_head``).

    Args:
        in_channels: channels of the RoI features.
        resolution: their side in cells.
        conv_channels: channels of each convolution.
        num_convs: convolutions, at least 1.
        hidden_channels: outputs of the fully connected layer.
        num_inputs: levels that come in; above 1 each has its own first convolution, fused by their maximum.
        norm: builder of the normalisation after each convolution, or None.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        resolution: int,
        conv_channels: int,
        num_convs: int,
        hidden_channels: int,
        num_inputs: int = 1,
        norm: NormBuilder | None = None,
    ) -> None:
        super().__init__()
        self.out_channels = hidden_channels
        self.conv1 = MaxFusion(num_inputs=num_inputs, layer=lambda: conv_block(in_channels, conv_channels, norm=norm))
        self.convs = nn.Sequential(*(conv_block(conv_channels, conv_channels, norm=norm) for _ in range(num_convs - 1)))
        self.fc = linear_block(conv_channels * resolution**2, hidden_channels, norm=None)

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        """``num_inputs`` tensors [R, C, P, P] -> [R, hidden_channels]."""
        return self.fc(self.convs(self.conv1(inputs)).flatten(1))


class BoxPredictor(nn.Module):
    """Class logits and box offsets of each RoI.

    Args:
        in_channels: of the box head's vector.
        num_classes: background included; it is class 0.
        is_class_agnostic: one regression for all classes.
    """

    def __init__(self, *, in_channels: int, num_classes: int, is_class_agnostic: bool = False) -> None:
        super().__init__()
        self.num_boxes = 1 if is_class_agnostic else num_classes
        self.cls_score = nn.Linear(in_channels, num_classes)
        self.bbox_pred = nn.Linear(in_channels, self.num_boxes * 4)
        init_weight(self.cls_score, method="GaussianFill", std=0.01)
        init_weight(self.bbox_pred, method="GaussianFill", std=0.001)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """[R, C] -> logits float32 [R, num_classes] and offsets float32 [R, num_classes or 1, 4]."""
        return self.cls_score(x).float(), self.bbox_pred(x).float().view(-1, self.num_boxes, 4)
