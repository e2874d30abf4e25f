"""Names of parts are checked before anything is read or built."""

from __future__ import annotations

import pytest

from fpt.core.config import load_cfg
from fpt.run.names import check_names
from fpt.utils.errors import UserError


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (
            ["MODEL.CONV_BODY", "FPN.ResNet51_conv5_body"],
            "its backbone is 'ResNet51_conv5_body'; legal: ResNet18_conv5",
        ),
        (["MODEL.CONV_BODY", ""], "its backbone is ''; legal: "),
        (["MODEL.CONV_BODY", "torchvision.mobilenet_v9"], "torchvision has no model 'mobilenet_v9'; did you mean"),
        (["FAST_RCNN.ROI_BOX_HEAD", "none"], "FAST_RCNN.ROI_BOX_HEAD is 'none'; legal: "),
        (["MRCNN.ROI_MASK_HEAD", "none", "MODEL.MASK_ON", "True"], "MRCNN.ROI_MASK_HEAD is 'none'; legal: "),
        (["SOLVER.TYPE", "Lion"], "SOLVER.TYPE is 'Lion'; legal: SGD"),
        (["SOLVER.LR_POLICY", "none"], "SOLVER.LR_POLICY is 'none'; legal: "),
        (["TEST.EVALUATOR", "none"], "TEST.EVALUATOR is 'none'; legal: "),
        (["TEST.EVALUATOR", "()"], "TEST.EVALUATOR is empty"),
    ],
)
def test_unknown_names_are_refused(pairs: list[str], message: str) -> None:
    with pytest.raises(UserError) as caught:
        check_names(load_cfg(None, pairs))
    assert message in str(caught.value)


def test_a_mask_head_is_not_looked_at_without_masks() -> None:
    check_names(load_cfg(None, ["MRCNN.ROI_MASK_HEAD", ""]))
