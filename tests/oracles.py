"""Slow, obvious numpy: what the fast code has to equal.

Every function is a loop over a definition, in float64 where there are fractions. Nothing of the
project is imported here, so that no mistake can be made twice. Maps are `[b, h, w, c]`.
"""

import json
import math
from pathlib import Path

import numpy as np


def load_golden(name):
    """Reads tests/goldens/<name>.json."""
    return json.loads((Path(__file__).parent / "goldens" / f"{name}.json").read_text())


# --- geometry ---------------------------------------------------------------------------------


def conv_size(size, *, kernel, stride=1, pad=0, rate=1):
    """Counts the windows that fit into the padded axis."""
    taps = [rate * tap for tap in range(kernel)]
    return sum(start + taps[-1] < size + 2 * pad for start in range(0, size + 2 * pad, stride))


def caffe_pool_windows(size, *, kernel, stride=1, pad=0):
    """Lists the [begin, end) of Caffe's pooling windows, end not beyond the far padding.

    Windows are laid until one reaches the end of the padded axis, even if it reaches beyond; with
    padding, a last window that would begin behind the image's last pixel is dropped.
    """
    begins = [-pad]
    while begins[-1] + kernel < size + pad:
        begins.append(begins[-1] + stride)
    if pad and begins[-1] >= size:
        begins.pop()
    return [(begin, min(begin + kernel, size + pad)) for begin in begins]


# --- layers -----------------------------------------------------------------------------------


def conv(maps, kernel, bias=None, *, stride=1, pad=0, rate=1, groups=1):
    """Cross-correlates, tap by tap: kernel is [kh, kw, c / groups, o]."""
    maps, kernel = np.asarray(maps, np.float64), np.asarray(kernel, np.float64)
    padded = np.pad(maps, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    (batch, height, width, channels), (size, _, _, features) = maps.shape, kernel.shape
    options = {"kernel": size, "stride": stride, "pad": pad, "rate": rate}
    rows = np.arange(conv_size(height, **options)) * stride
    columns = np.arange(conv_size(width, **options)) * stride
    output = np.zeros((batch, len(rows), len(columns), features))
    ins, outs = channels // groups, features // groups
    for group in range(groups):
        for y in range(size):
            for x in range(size):
                met = padded[:, rows + y * rate][:, :, columns + x * rate]
                output[..., group * outs : (group + 1) * outs] += (
                    met[..., group * ins : (group + 1) * ins]
                    @ kernel[y, x, :, group * outs : (group + 1) * outs]
                )
    return output if bias is None else output + np.asarray(bias, np.float64)


def caffe_pool(maps, mode, *, kernel, stride=1, pad=0):
    """Pools window by window; the maximum ignores the padding, the mean counts it as zeros."""
    batch, height, width, channels = maps.shape
    options = {"kernel": kernel, "stride": stride, "pad": pad}
    rows = caffe_pool_windows(height, **options)
    columns = caffe_pool_windows(width, **options)
    output = np.zeros((batch, len(rows), len(columns), channels))
    for y, (top, bottom) in enumerate(rows):
        for x, (left, right) in enumerate(columns):
            window = maps[:, max(top, 0) : bottom, max(left, 0) : right]
            if mode == "max":
                output[:, y, x] = window.max((1, 2))
            else:
                output[:, y, x] = window.sum((1, 2)) / ((bottom - top) * (right - left))
    return output


def dilated_max_pool(maps, *, kernel, stride, pad, rate):
    """Takes, unit by unit, the maximum of the taps that meet the image."""
    batch, height, width, channels = maps.shape
    options = {"kernel": kernel, "stride": stride, "pad": pad, "rate": rate}
    output = np.zeros((batch, conv_size(height, **options), conv_size(width, **options), channels))
    for y in range(output.shape[1]):
        for x in range(output.shape[2]):
            rows = [y * stride - pad + rate * tap for tap in range(kernel)]
            columns = [x * stride - pad + rate * tap for tap in range(kernel)]
            met = maps[:, [i for i in rows if 0 <= i < height]]
            output[:, y, x] = met[:, :, [i for i in columns if 0 <= i < width]].max((1, 2))
    return output


def bilinear_kernel(size):
    """Makes the filter of the FCN release (surgery.py), weight by weight: a symmetric tent.

    Caffe's own BilinearFiller puts the top of the tent elsewhere for some sizes, 63 among them.
    """
    factor, center = math.ceil(size / 2), (size - 1) / 2
    kernel = np.zeros((size, size))
    for y in range(size):
        for x in range(size):
            kernel[y, x] = (1 - abs(x - center) / factor) * (1 - abs(y - center) / factor)
    return kernel


def conv_transpose(maps, kernel, *, stride, pad=0):
    """Adds one scaled copy of a [kh, kw] kernel for every pixel, every channel by itself."""
    batch, height, width, channels = maps.shape
    size = len(kernel)
    full = (stride * (height - 1) + size, stride * (width - 1) + size)
    output = np.zeros((batch, *full, channels))
    for y in range(height):
        for x in range(width):
            place = np.s_[:, y * stride : y * stride + size, x * stride : x * stride + size]
            output[place] += kernel[None, :, :, None] * maps[:, y, x][:, None, None, :]
    return output[:, pad : full[0] - pad, pad : full[1] - pad]


def align_corners_resize(maps, height, width):
    """Interpolates linearly between the two nearest pixels, corners onto corners."""
    maps = np.asarray(maps, np.float64)
    output = np.zeros((maps.shape[0], height, width, maps.shape[3]))
    for y in range(height):
        for x in range(width):
            row = y * (maps.shape[1] - 1) / max(height - 1, 1)
            column = x * (maps.shape[2] - 1) / max(width - 1, 1)
            for i in {math.floor(row), math.ceil(row)}:
                for j in {math.floor(column), math.ceil(column)}:
                    share = (1 - abs(row - i)) * (1 - abs(column - j))
                    output[:, y, x] += share * maps[:, i, j]
    return output


# --- loss and metrics -------------------------------------------------------------------------


def cross_entropy(logits, labels, *, ignore_label):
    """Returns (sum, count) of the cross entropy, pixel by pixel."""
    total, count = 0.0, 0
    for pixel in np.ndindex(labels.shape):
        if labels[pixel] != ignore_label:
            scores = np.asarray(logits[pixel], np.float64)
            top = scores.max()
            total += top + math.log(np.exp(scores - top).sum()) - scores[labels[pixel]]
            count += 1
    return total, count


def confusion(labels, preds, *, num_classes, ignore_label):
    """Counts pixels by (true class, predicted class), pixel by pixel."""
    counts = np.zeros((num_classes, num_classes), np.int64)
    for label, pred in zip(labels.ravel(), preds.ravel(), strict=True):
        if label != ignore_label:
            counts[label, pred] += 1
    return counts
