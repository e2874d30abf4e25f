"""Names of the classes of COCO, and of models that keep none: those that other programs publish were trained on it."""

from __future__ import annotations

from collections.abc import Sequence

_NAMES = (
    "person,bicycle,car,motorcycle,airplane,bus,train,truck,boat,traffic light,fire hydrant,stop sign,"
    "parking meter,bench,bird,cat,dog,horse,sheep,cow,elephant,bear,zebra,giraffe,backpack,umbrella,"
    "handbag,tie,suitcase,frisbee,skis,snowboard,sports ball,kite,baseball bat,baseball glove,"
    "skateboard,surfboard,tennis racket,bottle,wine glass,cup,fork,knife,spoon,bowl,banana,apple,"
    "sandwich,orange,broccoli,carrot,hot dog,pizza,donut,cake,chair,couch,potted plant,bed,"
    "dining table,toilet,tv,laptop,mouse,remote,keyboard,cell phone,microwave,oven,toaster,sink,"
    "refrigerator,book,clock,vase,scissors,teddy bear,hair drier,toothbrush"
)

COCO_CLASSES: tuple[str, ...] = tuple(_NAMES.split(","))
"""The 80 classes of COCO detection, in the order of their ids."""

_UNUSED_IDS = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)
"""Numbers from 1 to 90 that no class of COCO has."""


def class_names(num_classes: int, *, has_keypoints: bool) -> list[str]:
    """Names of the classes of a model that keeps none.

    Args:
        num_classes: background included: 81 is COCO, 91 COCO by its ids, anything else has numbers.
        has_keypoints: two classes are the background and persons.
    """
    if num_classes == len(COCO_CLASSES) + 1:
        return list(COCO_CLASSES)
    if num_classes == len(COCO_CLASSES) + len(_UNUSED_IDS) + 1:
        names = iter(COCO_CLASSES)
        return [f"unused {number}" if number in _UNUSED_IDS else next(names) for number in range(1, num_classes)]
    if num_classes == 2 and has_keypoints:
        return ["person"]
    return _numbers(num_classes - 1)


def are_unnamed(names: Sequence[str]) -> bool:
    """Whether these are the names of classes of which nothing is known but their number."""
    return list(names) == _numbers(len(names))


def _numbers(count: int) -> list[str]:
    return [f"class {number}" for number in range(1, count + 1)]
