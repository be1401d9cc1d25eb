"""A prediction laid over its picture, with a legend of the classes that occur."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from fcn_jax.data.labels import LabelSet

OPACITY = 0.55
_BACKGROUND = "background"  # a class of this name is not coloured
_PAPER, _INK, _EDGE = (255, 255, 255), (20, 20, 20), (255, 255, 255)


def draw_overlay(
    image: UInt8[np.ndarray, "h w 3"], pred: UInt8[np.ndarray, "h w"], labels: LabelSet
) -> Image.Image:
    """Draws the colours of the classes over a picture, and below it what they mean.

    The legend names the classes from the largest to the smallest, with their shares of the pixels.
    A picture that is too narrow for the longest name gets a legend that is wider than itself.
    """
    counts = np.bincount(pred.ravel(), minlength=labels.num_classes)
    present = [int(k) for k in np.argsort(-counts, kind="stable") if counts[k]]
    shares = [format_share(counts[k] / pred.size) for k in present]
    texts = [f"{labels.names[k]} {share}" for k, share in zip(present, shares, strict=True)]
    legend = _draw_legend(texts, [labels.colors[k] for k in present], width=image.shape[1])
    height, width = image.shape[:2]
    page = Image.new("RGB", (max(width, legend.width), height + legend.height), _PAPER)
    page.paste(Image.fromarray(_blend(image, pred, labels)), (0, 0))
    page.paste(legend, (0, height))
    return page


def _blend(
    image: UInt8[np.ndarray, "h w 3"], pred: UInt8[np.ndarray, "h w"], labels: LabelSet
) -> UInt8[np.ndarray, "h w 3"]:
    opacity = np.full(labels.num_classes, OPACITY, np.float32)
    if _BACKGROUND in labels.names:
        opacity[labels.names.index(_BACKGROUND)] = 0
    alpha = opacity[pred][..., None]
    colors = np.asarray(labels.colors, np.float32)[pred]
    blended = (image * (1 - alpha) + colors * alpha).round().astype(np.uint8)
    edge = np.zeros(pred.shape, bool)
    edge[:, 1:] |= pred[:, 1:] != pred[:, :-1]
    edge[1:] |= pred[1:] != pred[:-1]
    blended[edge] = _EDGE
    return blended


def _draw_legend(
    texts: Sequence[str], colors: Sequence[tuple[int, int, int]], *, width: int
) -> Image.Image:
    size = min(max(12, width // 36), 48)
    font = ImageFont.load_default(size)
    gap, line = size // 2, size * 3 // 2
    lengths = [size + gap + round(font.getlength(text)) + size for text in texts]
    width = max(width, gap + max(lengths, default=0))
    places, x, y = [], gap, gap
    for length in lengths:
        if x + length > width and x > gap:
            x, y = gap, y + line
        places.append((x, y))
        x += length
    legend = Image.new("RGB", (width, y + line), _PAPER)
    draw = ImageDraw.Draw(legend)
    for (x, y), text, color in zip(places, texts, colors, strict=True):
        draw.rectangle((x, y, x + size, y + size), fill=tuple(color), outline=_INK)
        draw.text((x + size + gap, y + size / 2), text, font=font, fill=_INK, anchor="lm")
    return legend


def format_share(share: float) -> str:
    """Writes a share of the pixels."""
    return f"{share:.1%}" if share >= 0.0005 else "<0.1%"
