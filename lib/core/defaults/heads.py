"""Options of the box and mask heads."""

from fpt.core.option import Group, Option

FAST_RCNN: Group = {
    "ROI_BOX_HEAD": Option(
        "fast_rcnn_heads.roi_2mlp_head",
        "Box head.",
        choices=(
            "fast_rcnn_heads.roi_2mlp_head",
            "fast_rcnn_heads.roi_2mlp_head_gn",
            "fast_rcnn_heads.roi_Xconv1fc_head",
            "fast_rcnn_heads.roi_Xconv1fc_gn_head",
            "fast_rcnn_heads.roi_2mlp_head_gn_fptnet",
            "fast_rcnn_heads.roi_Xconv1fc_gn_head_fptnet",
        ),
    ),
    "MLP_HEAD_DIM": Option(1024, "Channels of the fully connected layers.", low=1),
    "CONV_HEAD_DIM": Option(256, "Channels of the convolutions.", low=1),
    "NUM_STACKED_CONVS": Option(4, "Convolutions in the Xconv heads.", low=1),
    "ROI_XFORM_METHOD": Option("RoIAlign", "How RoI features are pooled.", choices=("RoIAlign",)),
    "ROI_XFORM_RESOLUTION": Option(7, "Side in cells of the RoI features.", low=1),
    "ROI_XFORM_SAMPLING_RATIO": Option(2, "Samples a cell and axis; 0 = as many as the RoI has pixels.", low=0),
}

MRCNN: Group = {
    "ROI_MASK_HEAD": Option(
        "mask_rcnn_heads.mask_rcnn_fcn_head_v1up4convs",
        "Mask head.",
        choices=(
            "mask_rcnn_heads.mask_rcnn_fcn_head_v1up",
            "mask_rcnn_heads.mask_rcnn_fcn_head_v1up4convs",
            "mask_rcnn_heads.mask_rcnn_fcn_head_v1up4convs_gn",
            "mask_rcnn_heads.mask_rcnn_fcn_head_v1up4convs_gn_adp",
            "mask_rcnn_heads.mask_rcnn_fcn_head_v1up4convs_gn_adp_ff",
        ),
    ),
    "RESOLUTION": Option(28, "Side in cells of the predicted masks: twice ROI_XFORM_RESOLUTION.", low=2),
    "ROI_XFORM_METHOD": Option("RoIAlign", "How RoI features are pooled.", choices=("RoIAlign",)),
    "ROI_XFORM_RESOLUTION": Option(14, "Side in cells of the RoI features.", low=1),
    "ROI_XFORM_SAMPLING_RATIO": Option(2, "Samples a cell and axis; 0 = as many as the RoI has pixels.", low=0),
    "DIM_REDUCED": Option(256, "Channels of the convolutions.", low=1),
    "DILATION": Option(1, "Dilation of the 3x3 convolutions.", low=1),
    "CONV_INIT": Option("GaussianFill", "How the convolutions start.", choices=("GaussianFill", "MSRAFill")),
    "CLS_SPECIFIC_MASK": Option(True, "One mask for each class; False = one for all."),
    "WEIGHT_LOSS_MASK": Option(1.0, "Weight of the mask loss.", low=0),
    "THRESH_BINARIZE": Option(0.5, "Probability from which a pixel belongs to the object.", low=0, high=1),
}
