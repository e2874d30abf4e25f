"""Detection in single images with a trained model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from fpt.core.config_node import CfgNode
from fpt.dataloaders.build import build_reading, build_transform
from fpt.dataloaders.collate import Batch
from fpt.dataloaders.image_io import ImageReading, read_image, to_8_bits
from fpt.dataloaders.semantic.dataset import input_size
from fpt.dataloaders.transforms import resize_image
from fpt.engine.inference import detect_batch
from fpt.engine.segmentation import segment_image
from fpt.evaluation.results import to_coco_results
from fpt.modeling.semantic.segmentor import SemanticSegmentor
from fpt.run.keypoints import layout_of
from fpt.run.segment import segmentation_settings
from fpt.run.semantic_prediction import SemanticPrediction
from fpt.run.trained_model import load_trained_model
from fpt.solver.build import amp_dtype
from fpt.structures.detections import Detections
from fpt.structures.keypoints import KeypointLayout
from fpt.structures.paste import decode_mask
from fpt.utils.errors import UserError
from fpt.utils.files import write_json
from fpt.visualization.draw import ColourBy, detections_to_json, draw_detections
from fpt.visualization.image_output import explained_output, save_image

ImageLike = str | Path | np.ndarray | Image.Image | Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class Prediction:
    """What was found in one image, best first, in the pixels of the image.

    Attributes:
        image: uint8 [H, W, 3] RGB.
        detections: boxes, labels, scores and encoded masks.
        known_classes: class names of the model; label i + 1 is known_classes[i].
        source: file of the image, None where it came from memory.
        keypoint_layout: names and skeleton of the key points; None for a model without keypoint head.
    """

    image: np.ndarray
    detections: Detections
    known_classes: tuple[str, ...]
    source: Path | None = None
    keypoint_layout: KeypointLayout | None = None

    def __len__(self) -> int:
        return len(self.detections)

    @property
    def boxes(self) -> np.ndarray:
        """float32 [D, 4]: x1, y1, x2, y2; a pixel covers [x, x + 1)."""
        return self.detections.boxes

    @property
    def labels(self) -> np.ndarray:
        """int64 [D], from 1."""
        return self.detections.labels

    @property
    def class_names(self) -> list[str]:
        """The name of each detection's class."""
        return [self.known_classes[label - 1] for label in self.labels.tolist()]

    @property
    def scores(self) -> np.ndarray:
        """float32 [D], 0 to 1."""
        return self.detections.scores

    @property
    def masks(self) -> np.ndarray | None:
        """bool [D, H, W], decoded at each call; None for a model without mask head."""
        rles = self.detections.rles
        if rles is None:
            return None
        masks = np.zeros((len(rles), *self.image.shape[:2]), dtype=bool)
        for index, rle in enumerate(rles):
            masks[index] = decode_mask(rle)
        return masks

    @property
    def keypoints(self) -> np.ndarray | None:
        """float32 [D, K, 3]: x, y, score 0 to 1; None for a model without keypoint head."""
        return self.detections.keypoints

    @property
    def keypoint_names(self) -> tuple[str, ...]:
        """Names of the K key points; empty for a model without keypoint head."""
        return () if self.keypoint_layout is None else self.keypoint_layout.names

    def draw(
        self, *, with_scores: bool = True, mask_opacity: float = 0.45, colour_by: ColourBy = "class"
    ) -> np.ndarray:
        """The image with its detections: uint8 [H', W', 3] RGB; small images are enlarged.

        Args:
            with_scores: write the score in percent behind the name.
            mask_opacity: 0..1.
            colour_by: "class", or "object" for a colour of its own for each one.
        """
        return draw_detections(
            self.image,
            self.detections,
            self.known_classes,
            score_threshold=0.0,
            with_scores=with_scores,
            mask_opacity=mask_opacity,
            colour_by=colour_by,
            skeleton=() if self.keypoint_layout is None else self.keypoint_layout.skeleton,
        )

    def save(self, path: str | Path, *, colour_by: ColourBy = "class") -> None:
        """Write the drawing (png, jpg, pdf), or boxes, classes, scores and encoded masks (json), as the suffix says.

        Args:
            path: the file.
            colour_by: as in `draw`.

        Raises:
            UserError: another suffix, the file cannot be written, or it is the image itself.
        """
        path = Path(path)
        if self.source is not None and path.exists() and self.source.exists() and path.samefile(self.source):
            raise UserError(f"{path} is the image that was detected in; give another name")
        if path.suffix.lower() == ".json":
            with explained_output(path):
                write_json(path, self.to_json())
        else:
            save_image(path, self.draw(colour_by=colour_by))

    def to_json(self) -> dict[str, Any]:
        """Plain values: file, size, and for each detection class, label, score, box_xyxy, of masks mask_rle, and of key
        points keypoints, [x, y, score] each, whose names and skeleton stand beside the detections.
        """
        content = {
            "file": None if self.source is None else str(self.source),
            **detections_to_json(self.detections, self.known_classes),
        }
        if self.keypoint_layout is not None:
            content["keypoint_names"] = list(self.keypoint_names)
            content["skeleton"] = [list(pair) for pair in self.keypoint_layout.skeleton]
        return content

    def summary(self) -> str:
        """One line for a log."""
        return f"{len(self)} detection{'' if len(self) == 1 else 's'}"

    def to_coco(
        self, *, image_id: int | None = None, category_ids: Sequence[int] | None = None
    ) -> list[dict[str, Any]]:
        """COCO's results format: image_id, category_id, bbox (x, y, width, height), score, segmentation, keypoints.

        Args:
            image_id: id of the image; None = its number in the list that was predicted.
            category_ids: id of each class; None = 1, 2, ... in the order of the classes.
        """
        ids = range(1, len(self.known_classes) + 1) if category_ids is None else category_ids
        results = to_coco_results([self.detections], list(ids))
        return results if image_id is None else [{**item, "image_id": image_id} for item in results]


class Predictor:
    """A trained model that takes images as they come and gives detections, or classes, of their pixels.

        predictor = fpt.Predictor("model_best.pth")
        result = predictor("photo.jpg")

    Args:
        checkpoint: file of a checkpoint; configuration, class names and pixel format come from it.
        cfg: another configuration for the same model, such as one with a larger TEST.SCALE; None = the checkpoint's.
        device: "auto", "cpu", "cuda", "cuda:0" (or another number) or "mps"; not used with `cfg`, which has its own.
        score_threshold: detections with a lower score are left out; None = VIS_TH of the configuration. Where it is
            below TEST.SCORE_THRESH, under which the model itself drops them, that is lowered to it.

    Attributes:
        cfg: the configuration, frozen.
        class_names: of the model; label i + 1 is class_names[i].
        score_threshold: as above, 0 to 1.

    Raises:
        UserError: the checkpoint is missing or unusable, or does not fit `cfg`.
    """

    def __init__(
        self,
        checkpoint: str | Path,
        *,
        cfg: CfgNode | None = None,
        device: str = "auto",
        score_threshold: float | None = None,
    ) -> None:
        def lowest_score(cfg: CfgNode) -> float:
            return float(cfg.VIS_TH) if score_threshold is None else score_threshold

        trained = load_trained_model(checkpoint, cfg, device=device, lowest_score=lowest_score)
        self.cfg, self.class_names = trained.cfg, trained.class_names
        self.score_threshold = lowest_score(self.cfg)
        self._model = trained.model
        self._transform = build_transform(self.cfg, is_train=False)

    @overload
    def __call__(self, images: ImageLike) -> Any: ...

    @overload
    def __call__(self, images: list[ImageLike] | tuple[ImageLike, ...]) -> list[Any]: ...

    def __call__(self, images: ImageLike | list[ImageLike] | tuple[ImageLike, ...]) -> Any:
        """The Prediction of an image, or of each image of a list; of a segmentor SemanticPrediction.

        Args:
            images: path of a file; uint8 [H, W, 3] RGB or [H, W] grey array; PIL image; tensor [3, H, W] RGB, uint8 or
                float in 0..255; or a list or tuple of these.

        Raises:
            UserError: a file cannot be read, or a value is none of these.
        """
        if isinstance(images, (list, tuple)):
            return [self._predict(image, image_id) for image_id, image in enumerate(images)]
        return self._predict(images, 0)

    def _predict(self, image: Any, image_id: int) -> Prediction | SemanticPrediction:
        pixels = to_pixels(image, reading=build_reading(self.cfg))
        size_hw = (pixels.shape[0], pixels.shape[1])
        source = Path(image) if isinstance(image, (str, Path)) else None
        if isinstance(self._model, SemanticSegmentor):
            return self._segment(self._model, pixels, source)
        input_hw, _ = self._transform.draw(size_hw, None)
        tensor = torch.from_numpy(resize_image(pixels, input_hw)).permute(2, 0, 1)
        batch = Batch([tensor], None, [image_id], [size_hw], [min(input_hw) / min(size_hw)])
        (detections,) = detect_batch(
            self._model,
            batch,
            device=torch.device(self.cfg.DEVICE),
            amp_dtype=amp_dtype(self.cfg),
            mask_threshold=self.cfg.MRCNN.THRESH_BINARIZE,
        )
        return Prediction(
            image=pixels,
            detections=detections.above(self.score_threshold),
            known_classes=self.class_names,
            source=source,
            keypoint_layout=layout_of(self.cfg),
        )

    def _segment(self, model: SemanticSegmentor, pixels: np.ndarray, source: Path | None) -> SemanticPrediction:
        size_hw = (pixels.shape[0], pixels.shape[1])
        resized = resize_image(pixels, input_size(size_hw, short_side=self.cfg.SEMANTIC.SHORT_SIDE))
        tensor = torch.from_numpy(resized).permute(2, 0, 1).to(torch.device(self.cfg.DEVICE))
        settings = segmentation_settings(self.cfg, self.class_names)
        classes, scores = segment_image(model, tensor, settings, size_hw=size_hw)
        return SemanticPrediction(
            image=pixels,
            classes=classes.cpu().numpy(),
            scores=scores.cpu().numpy(),
            known_classes=self.class_names,
            source=source,
            palette=self.cfg.SEMANTIC.PALETTE,
        )


def to_pixels(image: Any, *, reading: ImageReading | None = None) -> np.ndarray:
    """An image of any of the kinds that a Predictor takes as uint8 [H, W, 3] RGB, contiguous, in memory of its own.

    Args:
        image: path, array, PIL image or tensor.
        reading: how a file or a PIL image becomes 8-bit RGB; None = the defaults.

    Raises:
        UserError: the file cannot be read, or kind, type, shape or range are others.
    """
    if isinstance(image, (str, Path)):
        return read_image(image, reading=reading)
    if isinstance(image, Image.Image):
        return _from_pil(image, reading or ImageReading())
    if isinstance(image, Tensor):
        return _from_tensor(image)
    if not isinstance(image, np.ndarray):
        raise UserError(f"an image is a path, an array, a PIL image or a tensor, but this is a {type(image).__name__}")
    if image.dtype != np.uint8 or 0 in image.shape or (image.ndim != 2 and image.shape[2:] != (3,)):
        raise UserError(
            f"the array is {image.dtype} {image.shape}; an image is uint8 [H, W, 3] in RGB (cv2.imread gives BGR: "
            "image[..., ::-1]), or uint8 [H, W] in grey"
        )
    return np.array(image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=2), order="C")


def _from_pil(image: Image.Image, reading: ImageReading) -> np.ndarray:
    """As read_image gives the file of it: Pillow's own conversion clips what is deeper than 8 bits."""
    if reading.exif != "ignore":
        image = ImageOps.exif_transpose(image)
    if image.mode not in ("I", "F") and not image.mode.startswith("I;"):
        return np.array(image.convert("RGB"))
    grey = to_8_bits(np.asarray(image), stretch=reading.stretch)
    return np.repeat(grey[..., None], 3, axis=2)


def _from_tensor(image: Tensor) -> np.ndarray:
    if image.ndim != 3 or image.shape[0] != 3 or image.numel() == 0:
        raise UserError(f"the tensor has shape {tuple(image.shape)}; an image is [3, H, W] in RGB")
    values = image.detach().cpu()
    if values.dtype != torch.uint8:
        low, high = float(values.min()), float(values.max())
        if not (0 <= low and (1 < high <= 255 or high == 0)):
            raise UserError(
                f"the tensor is {values.dtype} with values from {low:g} to {high:g}; an image is uint8, or float in "
                "0..255: multiply values in 0..1 by 255"
            )
        values = values.round().to(torch.uint8)
    return np.array(values.permute(1, 2, 0).numpy(), order="C")
