"""The box head's last layers."""

from __future__ import annotations

from torch import Tensor, nn

from fpt.layers.conv import init_weight


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
