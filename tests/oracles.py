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
    """Adds one scaled copy of the kernel for every pixel.

    Kernel is [kh, kw, i, o], or [kh, kw] for every channel by itself.
    """
    batch, height, width, channels = maps.shape
    kernel = np.asarray(kernel, np.float64)
    if kernel.ndim == 2:
        kernel = kernel[:, :, None, None] * np.eye(channels)
    size = len(kernel)
    full = (stride * (height - 1) + size, stride * (width - 1) + size)
    output = np.zeros((batch, *full, kernel.shape[3]))
    for y in range(height):
        for x in range(width):
            place = np.s_[:, y * stride : y * stride + size, x * stride : x * stride + size]
            output[place] += np.tensordot(maps[:, y, x], kernel, (1, 2))
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


def local_response_norm(maps, *, size=5, alpha=1e-4, beta=0.75, k=1.0):
    """Divides every channel by a power of the squares of the channels around it."""
    output = np.zeros(maps.shape)
    for channel in range(maps.shape[-1]):
        first = max(channel - size // 2, 0)
        squares = (maps[..., first : channel + size // 2 + 1] ** 2).sum(-1)
        output[..., channel] = maps[..., channel] / (k + alpha / size * squares) ** beta
    return output


# --- networks: every blob by the release's name -----------------------------------------------


def conv_of(params, name, maps, *, relu=True, **options):
    """Convolves with the parameters of this name."""
    output = conv(maps, params[name]["kernel"], params[name]["bias"], **options)
    return np.maximum(output, 0) if relu else output


def caffe_input(images):
    """Turns RGB into BGR minus the mean."""
    return (np.asarray(images, np.float64) - np.array([122.67892, 116.66877, 104.00699]))[..., ::-1]


def vgg16(params, images):
    """Runs the VGG16 of the FCN release."""
    blobs, blob = {}, caffe_input(images)
    for stage, convs in enumerate((2, 2, 3, 3, 3), start=1):
        for index in range(1, convs + 1):
            name, pad = f"conv{stage}_{index}", 100 if stage == index == 1 else 1
            blob = blobs[name] = conv_of(params, name, blob, pad=pad)
        blob = blobs[f"pool{stage}"] = caffe_pool(blob, "max", kernel=2, stride=2)
    return blobs


def alexnet(params, images, *, one_tower=False):
    """Runs the AlexNet of the FCN release, or torchvision's, of one tower."""
    blobs, blob = {}, caffe_input(images)
    groups = {} if one_tower else {"groups": 2}
    for stage, options in enumerate(
        [{"stride": 4, "pad": 100}, {"pad": 2, **groups}, {"pad": 1}] + [{"pad": 1, **groups}] * 2,
        start=1,
    ):
        blob = blobs[f"conv{stage}"] = conv_of(params, f"conv{stage}", blob, **options)
        if stage in (1, 2, 5):
            blob = blobs[f"pool{stage}"] = caffe_pool(blob, "max", kernel=3, stride=2)
        if stage in (1, 2) and not one_tower:
            blob = blobs[f"norm{stage}"] = local_response_norm(blob)
    return blobs


def fcn(params, images, *, backbone, crops, taps, scales=()):
    """Runs a released FCN.

    Args:
        params: with `kernel` for an upsampling, if it is learned.
        backbone: one of the functions above.
        crops: the release's own offsets: of every skip by its pool's name, and last of "score".
        taps: of the last upsampling.
        scales: multiply the features of the skips.
    """
    blobs = backbone(params["backbone"], images)
    blob = list(blobs.values())[-1]
    for name in ("fc6", "fc7"):
        blob = blobs[name] = conv_of(params, name, blob)
    score = blobs["score_fr"] = conv_of(params, "score_fr", blob, relu=False)

    def upscore(name, taps, stride):
        kernel = params[name]["kernel"] if name in params else bilinear_kernel(taps)
        blobs[name] = conv_transpose(score, kernel, stride=stride)
        return blobs[name]

    def crop(maps, offset, size):
        return maps[:, offset : offset + size[0], offset : offset + size[1]]

    *skips, _ = crops
    name, stride = "upscore2", 32
    for index, pool in enumerate(skips):
        blob = upscore(name, 4, 2)
        skip = blobs[pool]
        if scales:
            skip = blobs[f"scale_{pool}"] = skip * scales[index]
        skip = blobs[f"score_{pool}"] = conv_of(params, f"score_{pool}", skip, relu=False)
        skip = blobs[f"score_{pool}c"] = crop(skip, crops[pool], blob.shape[1:3])
        score = blobs[f"fuse_{pool}"] = blob + skip
        name, stride = f"upscore_{pool}", stride // 2
    if stride > 2:
        name = f"upscore{stride}" if skips else "upscore"
    blobs["score"] = crop(upscore(name, taps, stride), crops["score"], images.shape[1:3])
    return blobs


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


def near_boundary(labels, *, ignore_label, distance_px):
    """Looks, for every labelled pixel, at all pixels of the square around it."""
    height, width = labels.shape
    near = np.zeros(labels.shape, bool)
    for y in range(height):
        for x in range(width):
            rows = slice(max(0, y - distance_px), y + distance_px + 1)
            columns = slice(max(0, x - distance_px), x + distance_px + 1)
            classes = set(labels[rows, columns].ravel().tolist()) - {ignore_label}
            near[y, x] = labels[y, x] != ignore_label and len(classes) > 1
    return near
