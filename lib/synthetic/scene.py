"""One image of the built-in data set ``shapes``: what stands where, its pixels and its truth.

An image is a pure function of (seed, split, index). Rings come in two classes that look exactly the same: a ring is an
`open_ring` if a key can be seen anywhere in the image, and a `locked_ring` otherwise. Only the context tells.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np

from fpt.synthetic.outlines import Contour, place_outline
from fpt.synthetic.texture import Rng, draw_background, draw_contrasting_colour, draw_fill

CLASS_NAMES = ("square", "triangle", "star", "crescent", "key", "locked_ring", "open_ring")
IGNORE_LABEL = 255

_PLAIN_FIGURES = ("square", "triangle", "star", "crescent")
_SUPERSAMPLING = 4
_MAX_TILT = 0.45
_MIN_VISIBLE_SHARE = {"key": 0.75, "ring": 0.6}
_MIN_VISIBLE_SHARE_OTHERS = 0.5
_MIN_VISIBLE_PIXELS = 24


@dataclass(eq=False)
class Figure:
    """A figure of the scene: one outline, or many for a crowd.

    Attributes:
        name: of its class.
        centre_xy: in pixels.
        side: length in pixels that its outline is scaled by.
        contours: outlines, float [P, 2] each, in pixels.
        is_crowd: whether it is annotated as one crowd region.
        alpha: float32 [H, W], the share of each pixel that it covers; empty until it is drawn.
    """

    name: str
    centre_xy: tuple[float, float]
    side: float
    contours: list[Contour]
    is_crowd: bool = False
    alpha: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.float32))


@dataclass(frozen=True)
class SceneObject:
    """The truth about one object that can be seen.

    Attributes:
        class_name: one of CLASS_NAMES.
        mask: bool [H, W], the pixels that show it.
        outside: float64 [P, 2] its whole contour in pixels if it is a single contour that nothing covers, else None.
        keypoints: float64 [5, 3] x, y and visibility (COCO: 2 seen, 1 covered, 0 outside); zeros for a crowd.
        is_crowd: a group of small figures with one mask.
    """

    class_name: str
    mask: np.ndarray
    outside: Contour | None
    keypoints: np.ndarray
    is_crowd: bool


@dataclass(frozen=True)
class Scene:
    """An image with its truth.

    Attributes:
        image: uint8 [H, W, 3] RGB.
        objects: what can be seen, in painting order.
        semantic: uint8 [H, W], 0 background, i + 1 = CLASS_NAMES[i], 255 ignore.
    """

    image: np.ndarray
    objects: list[SceneObject]
    semantic: np.ndarray


def make_scene(*, seed: int, split: int, index: int, size: int) -> Scene:
    """Draw image `index` of a split; its longer side has `size` pixels."""
    rng = np.random.default_rng([seed, split, index])
    size_hw = _draw_size(rng, size)
    figures = _keep_visible(_draw_figures(rng, size_hw))
    image, mean = draw_background(rng, size_hw)
    colours = [mean]
    for figure in figures:
        colour = draw_contrasting_colour(rng, colours)
        colours.append(colour)
        _paint(rng, image, figure, colour)
    owner = _owners(figures, size_hw)
    has_key = any(figure.name == "key" for figure in figures)
    objects = [_describe(figure, number, owner, has_key=has_key) for number, figure in enumerate(figures)]
    return Scene(image=np.rint(image).astype(np.uint8), objects=objects, semantic=_semantic(figures, objects, size_hw))


def _draw_size(rng: Rng, size: int) -> tuple[int, int]:
    short = max(round(0.75 * size), 1)
    return [(size, size), (short, size), (size, short)][rng.choice(3, p=[0.4, 0.3, 0.3])]


def _draw_names(rng: Rng) -> list[str]:
    """Which figures stand in an image: rings in two of three images, a key in half of them, independently."""
    if rng.random() < 0.02:
        return []
    names = [str(name) for name in rng.choice(_PLAIN_FIGURES, size=rng.integers(1, 3))]
    if rng.random() < 0.67:
        names += ["ring"] * int(rng.integers(1, 3))
    if rng.random() < 0.6:  # more than half: some keys turn out hidden, and go
        names.append("key")
    return names


def _draw_side(rng: Rng, name: str, shorter: int) -> float:
    """Side in pixels: mostly a quarter to half of the image, some tiny, some that nearly fill it."""
    kind = rng.random()
    if kind < 0.04 and name not in ("key", "ring"):
        return float(rng.uniform(0.09, 0.16) * shorter)
    if kind > 0.97:
        return float(rng.uniform(0.75, 1.0) * shorter)
    side = float(np.exp(rng.uniform(np.log(0.28), np.log(0.6))) * shorter)
    return 1.3 * side if name == "key" else side  # a key is long and thin


def _draw_figures(rng: Rng, size_hw: tuple[int, int]) -> list[Figure]:
    """Figures in painting order: large ones mostly first, so that overlap rarely hides a small one."""
    height, width = size_hw
    figures: list[Figure] = []
    names = _draw_names(rng)
    sides = sorted(((_draw_side(rng, name, min(size_hw)), name) for name in names), reverse=True)
    for side, name in sides:
        centre = (float(rng.uniform(0.14, 0.86) * width), float(rng.uniform(0.14, 0.86) * height))
        if figures and rng.random() < 0.2:
            centre = _beside(rng, figures[rng.integers(len(figures))], side, size_hw)
        contours = place_outline(name, centre_xy=centre, side=side, angle=rng.uniform(-_MAX_TILT, _MAX_TILT))
        figures.append(Figure(name, centre, side, contours))
    if rng.random() < 0.06:
        figures.insert(0, _draw_crowd(rng, size_hw))
    for figure in figures:
        figure.alpha = _coverage(figure.contours, size_hw)
    return figures


def _beside(rng: Rng, other: Figure, side: float, size_hw: tuple[int, int]) -> tuple[float, float]:
    """A place that overlaps another figure, inside the image."""
    angle, reach = rng.uniform(0, 2 * np.pi), rng.uniform(0.3, 0.5) * (side + other.side)
    x, y = other.centre_xy[0] + reach * np.cos(angle), other.centre_xy[1] + reach * np.sin(angle)
    return float(np.clip(x, 0.1 * size_hw[1], 0.9 * size_hw[1])), float(np.clip(y, 0.1 * size_hw[0], 0.9 * size_hw[0]))


def _draw_crowd(rng: Rng, size_hw: tuple[int, int]) -> Figure:
    """A swarm of small stars that is annotated as one crowd region."""
    shorter = min(size_hw)
    centre = np.array([rng.uniform(0.2, 0.8) * size_hw[1], rng.uniform(0.2, 0.8) * size_hw[0]])
    contours: list[Contour] = []
    radius = 0.2 * shorter
    for row, column in np.ndindex(4, 4):
        place = centre + (np.array([column, row]) - 1.5 + rng.uniform(-0.12, 0.12, size=2)) * radius / 1.5
        angle = rng.uniform(0, 2 * np.pi)
        contours += place_outline("star", centre_xy=(place[0], place[1]), side=0.09 * shorter, angle=angle)
    return Figure("star", (float(centre[0]), float(centre[1])), 2 * radius, contours, is_crowd=True)


def _coverage(contours: list[Contour], size_hw: tuple[int, int]) -> np.ndarray:
    """Share of each pixel that lies inside the contours (even-odd): float32 [H, W]."""
    points = np.concatenate(contours)
    low = np.maximum(np.floor(points.min(axis=0)).astype(int) - 1, 0)
    high = np.minimum(np.ceil(points.max(axis=0)).astype(int) + 2, size_hw[::-1])
    coverage = np.zeros(size_hw, dtype=np.float32)
    if (high <= low).any():
        return coverage
    fine = np.zeros((high - low)[::-1] * _SUPERSAMPLING, dtype=np.uint8)
    # fillPoly's integer coordinates are centres of fine pixels, hence the half; 6 fractional bits.
    fixed = [np.rint(((c - low) * _SUPERSAMPLING - 0.5) * 64).astype(np.int32) for c in contours]
    cv2.fillPoly(fine, fixed, 255, shift=6)
    coarse = cv2.resize(fine, tuple(int(n) for n in high - low), interpolation=cv2.INTER_AREA)
    coverage[low[1] : high[1], low[0] : high[0]] = coarse.astype(np.float32) / 255
    return coverage


def _keep_visible(figures: list[Figure]) -> list[Figure]:
    """Leave out the figures that others or the border hide: the truth is about what can be recognised."""
    kept = list(figures)
    while kept:
        owner = _owners(kept, kept[0].alpha.shape)
        margins = []
        for number, figure in enumerate(kept):
            visible = int((owner == number).sum())
            whole = max(_area(figure.contours), 1.0)
            share = visible / whole if visible >= _MIN_VISIBLE_PIXELS else 0.0
            margins.append(share - _MIN_VISIBLE_SHARE.get(figure.name, _MIN_VISIBLE_SHARE_OTHERS))
        worst = int(np.argmin(margins))
        if margins[worst] >= 0:
            break
        del kept[worst]
    return kept


def _area(contours: list[Contour]) -> float:
    """Area in pixels of the whole figure, the part outside of the image too."""
    areas = [cv2.contourArea(contour.astype(np.float32)) for contour in contours]
    is_group = len(areas) > 2
    return sum(areas) if is_group else areas[0] - sum(areas[1:])


def _owners(figures: list[Figure], size_hw: tuple[int, ...]) -> np.ndarray:
    """Number of the figure that each pixel shows, int32 [H, W]; -1 = background."""
    owner = np.full(size_hw, -1, dtype=np.int32)
    for number, figure in enumerate(figures):
        owner[figure.alpha >= 0.5] = number
    return owner


def _paint(rng: Rng, image: np.ndarray, figure: Figure, colour: np.ndarray) -> None:
    """Lay a figure over the image: filled, with a darker or lighter rim; in place."""
    fill = draw_fill(rng, figure.alpha.shape, colour)
    rim_colour = colour * 0.45 if colour.mean() > 90 else colour + (255 - colour) * 0.55
    width = max(0.035 * figure.side, 1.0) if not figure.is_crowd else 1.0
    kernel = np.ones((2 * round(width) + 1,) * 2, dtype=np.uint8)
    inside = cv2.erode(figure.alpha, kernel, borderType=cv2.BORDER_REPLICATE)[..., None]
    inked = inside * fill + (1 - inside) * rim_colour.astype(np.float32)
    alpha = figure.alpha[..., None]
    image += alpha * (inked - image)


def _describe(figure: Figure, number: int, owner: np.ndarray, *, has_key: bool) -> SceneObject:
    mask = owner == number
    name = figure.name
    if name == "ring":
        name = "open_ring" if has_key else "locked_ring"
    height, width = owner.shape
    outside = figure.contours[0]
    is_inside = bool((outside >= 0).all() and (outside <= [width, height]).all())
    is_whole = is_inside and int(mask.sum()) == int((figure.alpha >= 0.5).sum())
    return SceneObject(
        class_name=name,
        mask=mask,
        outside=outside if is_whole and len(figure.contours) == 1 else None,
        keypoints=np.zeros((5, 3)) if figure.is_crowd else _keypoints(figure, mask),
        is_crowd=figure.is_crowd,
    )


def _keypoints(figure: Figure, mask: np.ndarray) -> np.ndarray:
    """Top, right, bottom and left end of the whole outline, and its centre: float64 [5, 3]."""
    outside = figure.contours[0]
    ends = [outside[:, 1].argmin(), outside[:, 0].argmax(), outside[:, 1].argmax(), outside[:, 0].argmin()]
    points = np.concatenate([outside[ends], [figure.centre_xy]])
    height, width = mask.shape
    # An end lies on the rim, where half of the pixel belongs to a neighbour: look one pixel around.
    near = cv2.dilate(mask.astype(np.uint8), np.ones((3, 3), dtype=np.uint8))
    keypoints = np.zeros((5, 3))
    for row, (x, y) in enumerate(points):
        if 0 <= x < width and 0 <= y < height:
            keypoints[row] = (x, y, 2 if near[int(y), int(x)] else 1)
    return keypoints


def _semantic(figures: list[Figure], objects: list[SceneObject], size_hw: tuple[int, int]) -> np.ndarray:
    """Class of each pixel; pixels that a figure's rim shares with what lies behind it are IGNORE_LABEL."""
    semantic = np.zeros(size_hw, dtype=np.uint8)
    for figure, item in zip(figures, objects, strict=True):
        semantic[figure.alpha >= 0.25] = IGNORE_LABEL
        semantic[figure.alpha > 0.75] = CLASS_NAMES.index(item.class_name) + 1
    return semantic
