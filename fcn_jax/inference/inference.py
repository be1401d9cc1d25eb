"""The classes of every pixel of pictures of any size, by a few compiled programs.

A picture is padded at the bottom and at the right to one of a few sizes, each of which is compiled
once. The size depends on the picture alone, so that its prediction does not depend on what else is
predicted. Views (scales, mirrored) are averaged; a large picture is cut into windows, which go
through one program, so that memory does not depend on the size of the picture.
"""

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from fcn_jax.data.batches.transforms import FILL_RGB
from fcn_jax.errors import UserError
from fcn_jax.inference.tiles import ALIGNMENT, AUTO_AREA, AUTO_WINDOW, cut_side, find_rung
from fcn_jax.models.padded import apply_padded
from fcn_jax.train.parallel import Devices
from fcn_jax.train.trained import Trained

Pixels = UInt8[np.ndarray, "_ _ 3"]
# Classes, or probabilities of classes.
Output = UInt8[np.ndarray, "_ _"] | Float[np.ndarray, "_ _ k"]


@runtime_checkable
class Rows(Protocol):
    """A picture whose rows are read one after the other, as RGB."""

    height: int
    width: int

    def read(self, num_rows: int) -> UInt8[np.ndarray, "n w 3"]:
        """Returns the next rows."""
        ...


class _Look(NamedTuple):
    """A way to look at a picture.

    Attributes:
        scale: Factor of its size.
        flip: Whether it is seen mirrored.
        shape: Height and width that it is padded to then.
    """

    scale: float
    flip: bool
    shape: tuple[int, int]

    def see(self, image: Pixels) -> Pixels:
        """Returns what is seen of a picture, without the padding."""
        height, width = self.find_size(image)
        if (height, width) != image.shape[:2]:
            # As training resizes.
            resized = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)
            image = np.asarray(resized)
        return image[:, ::-1] if self.flip else image

    def find_size(self, image: Pixels) -> tuple[int, int]:
        """Returns the height and the width of what is seen."""
        return _scaled(image.shape[0], self.scale), _scaled(image.shape[1], self.scale)


@dataclass(eq=False)
class _Job:
    """A picture, or a window of one, on its way through the network.

    Attributes:
        key: What the caller calls it.
        image: The picture.
        looks: How it is looked at.
        outputs: Output of each look that is done, without padding and not mirrored.
    """

    key: Any
    image: Pixels
    looks: tuple[_Look, ...]
    outputs: dict[_Look, np.ndarray] = field(default_factory=dict)


class Inference:
    """A trained network with a way to look at pictures.

    Args:
        net: The network.
        devices: Devices that share the work.
        probabilities: Whether outputs are probabilities `[h, w, k]` in float32, and not the most
            probable class `[h, w]` in uint8.
        scales: Factors of the sizes at which a picture is seen; the probabilities are averaged.
        flip: Whether each of them is also seen mirrored.
        max_size: Pixels: a picture with a longer side is seen shrunk to it; 0 shrinks none. The
            outputs have the size of the picture.
        window: Pixels: a picture with a longer side, as it is seen, is cut into square windows of
            this side; 0 takes windows of 1024 for pictures of more than 2048x2048 pixels.
        size_multiple: Sides are padded to multiples of it, as evaluations do; 0 pads to one of few
            sizes, see `tiles.find_rung`.
        canvas: Pixels: a picture is seen with this longer side, in the corner of a square of it,
            and the square is taken for image, as DeepLab's releases for TensorFlow do; 0 for none.

    Raises:
        UserError: For options that are out of range.
    """

    def __init__(
        self,
        net: Trained,
        devices: Devices,
        *,
        probabilities: bool = False,
        scales: Sequence[float] = (1.0,),
        flip: bool = False,
        max_size: int = 0,
        window: int = 0,
        size_multiple: int = 0,
        canvas: int = 0,
    ):
        if not scales or not all(0.05 <= scale <= 8 for scale in scales):
            raise UserError(
                f"scales={tuple(scales)} must be numbers from 0.05 to 8, such as 1,1.25"
            )
        if window and window < 2 * ALIGNMENT:
            raise UserError(f"window={window} must be 0, or {2 * ALIGNMENT} pixels or more")
        sizes = {"max_size": max_size, "size_multiple": size_multiple, "canvas": canvas}
        for name, value in sizes.items():
            if value < 0:
                raise UserError(f"{name}={value} must be 0 or more pixels")
        if canvas and (window or max_size or tuple(scales) != (1.0,)):
            raise UserError(
                f"canvas={canvas} says the size at which pictures are seen: leave out scales, "
                "max_size and window"
            )
        self.net = net
        self.shapes: set[tuple[int, int]] = set()
        self._devices, self._probabilities = devices, probabilities
        self._scales, self._flip, self._max_size = tuple(scales), flip, max_size
        self._window, self._size_multiple, self._canvas = window, size_multiple, canvas
        # The release's canvas is of the colour that its network sees as zero.
        self._fill_rgb = np.round(net.model.backbone.preprocess.mean_rgb) if canvas else FILL_RGB
        is_resized = max_size > 0 or canvas > 0 or self._scales != (1.0,)
        self._needs_probabilities = probabilities or flip or is_resized
        self._variables = devices.replicate(dict(net.variables))

    def predict(self, image: Pixels) -> Output:
        """Returns the output for one picture."""
        [(_, output)] = self.predict_all([(None, image)])
        return output

    def predict_all(self, images: Iterable[tuple[Any, Pixels]]) -> Iterator[tuple[Any, Output]]:
        """Yields key and output of each picture, as soon as there is one.

        Args:
            images: Pictures, each with a key that tells the caller which it is.
        """
        in_windows: deque[tuple[Any, Output]] = deque()

        def make_jobs() -> Iterator[_Job]:
            for key, image in images:
                height, width = image.shape[:2]
                if self.find_window(height, width):
                    stripes = list(self.predict_rows(_ArrayRows(image)))
                    in_windows.append((key, np.concatenate(stripes)))
                else:
                    yield _Job(key, image, self._list_looks(height, width, window=0))

        for done in self._run(make_jobs()):
            yield done
            while in_windows:
                yield in_windows.popleft()
        yield from in_windows

    def predict_rows(self, picture: Rows) -> Iterator[Output]:
        """Yields the output of a picture in stripes from the top, one window high at most."""
        height, width = picture.height, picture.width
        window = self.find_window(height, width) or max(height, width)
        looks = self._list_looks(height, width, window=window)
        columns = list(cut_side(width, window))
        held, top = np.empty((0, width, 3), np.uint8), 0
        for rows in cut_side(height, window):
            missing = min(rows.stop, height) - top - len(held)
            held = np.concatenate([held[rows.start - top :], picture.read(missing)])
            top = rows.start
            jobs = (_Job(span, held[:, span.start : span.stop], looks) for span in columns)
            # They come in their order, since all have the same shapes.
            stripe = [
                output[
                    rows.keep_from - rows.start : rows.keep_to - rows.start,
                    span.keep_from - span.start : span.keep_to - span.start,
                ]
                for span, output in self._run(jobs)
            ]
            yield np.concatenate(stripe, axis=1)

    def find_window(self, height: int, width: int) -> int:
        """Returns the side of the windows that a picture is cut into; 0 if it is seen whole."""
        scale = self._find_scale(height, width)
        if self._canvas:
            return 0
        if self._window:
            is_cut, window = max(height, width) * scale > self._window, self._window
        else:
            is_cut, window = height * width * scale**2 > AUTO_AREA, AUTO_WINDOW
        return math.floor(window / scale) if is_cut else 0

    def _find_scale(self, height: int, width: int) -> float:
        if self._canvas:
            return self._canvas / max(height, width)
        return min(1.0, self._max_size / max(height, width)) if self._max_size else 1.0

    def _list_looks(self, height: int, width: int, *, window: int) -> tuple[_Look, ...]:
        """Lists how a picture of this size is looked at, or its windows."""
        scale = self._find_scale(height, width)
        return tuple(
            _Look(
                scale * factor,
                flip,
                (
                    self._find_side(height, window, scale * factor),
                    self._find_side(width, window, scale * factor),
                ),
            )
            for factor in self._scales
            for flip in (False, True)[: 1 + self._flip]
        )

    def _find_side(self, side: int, window: int, scale: float) -> int:
        """Returns the padded length of a side, or of a window of it, where it is seen scaled."""
        if self._canvas:
            return self._canvas
        if 0 < window < side:
            return _scaled(window, scale)
        if self._size_multiple:
            return -(-_scaled(side, scale) // self._size_multiple) * self._size_multiple
        return find_rung(_scaled(side, scale))

    def _run(self, jobs: Iterable[_Job]) -> Iterator[tuple[Any, Output]]:
        """Does all looks of all jobs, as many of one shape at once as there are devices."""
        waiting: dict[tuple[int, int], list[tuple[_Job, _Look]]] = {}
        running: deque[tuple[list[tuple[_Job, _Look]], jax.Array]] = deque()
        for job in jobs:
            for look in job.looks:
                group = waiting.setdefault(look.shape, [])
                group.append((job, look))
                if len(group) == self._devices.local_count:
                    running.append((group, self._start(waiting.pop(look.shape))))
                # While one group is computed, the next is made ready.
                if len(running) > 1:
                    yield from self._finish(*running.popleft())
        running.extend((group, self._start(group)) for group in waiting.values())
        for group, outputs in running:
            yield from self._finish(group, outputs)

    def _start(self, group: Sequence[tuple[_Job, _Look]]) -> jax.Array:
        shape = group[0][1].shape
        images = np.empty((self._devices.local_count, *shape, 3), np.uint8)
        images[:] = self._fill_rgb
        sizes = np.ones((len(images), 2), np.int32)
        for padded, size, (job, look) in zip(images, sizes, group, strict=False):
            seen = look.see(job.image)
            size[:] = shape if self._canvas else seen.shape[:2]
            padded[: seen.shape[0], : seen.shape[1]] = seen
        self.shapes.add(shape)
        return self._apply(self._variables, {"images": images, "sizes": sizes})

    def _finish(
        self, group: Sequence[tuple[_Job, _Look]], outputs: jax.Array
    ) -> Iterator[tuple[Any, Output]]:
        for (job, look), output in zip(group, np.asarray(outputs), strict=False):
            height, width = look.find_size(job.image)
            seen = output[:height, :width]
            job.outputs[look] = seen[:, ::-1] if look.flip else seen
            if len(job.outputs) == len(job.looks):
                yield job.key, self._join(job)

    def _join(self, job: _Job) -> Output:
        if not self._needs_probabilities:
            return job.outputs[job.looks[0]]
        maps = [_resize_maps(job.outputs[look], job.image.shape[:2]) for look in job.looks]
        # Sums of floats depend on their order: as listed, whichever was done first, and each with
        # its mirrored twin, so that a mirrored picture has the mirrored sum.
        if self._flip:
            maps = [one + twin for one, twin in zip(maps[::2], maps[1::2], strict=True)]
        mean = sum(maps[1:], start=maps[0]) / np.float32(len(job.looks))
        return mean if self._probabilities else mean.argmax(axis=-1).astype(np.uint8)

    @cached_property
    def _apply(self) -> Callable[[Any, dict], jax.Array]:
        def apply(variables: Any, batch: dict) -> jax.Array:
            images, sizes = batch["images"][None], batch["sizes"][None]
            [logits] = apply_padded(self.net.model, variables, images, sizes)
            if self._needs_probabilities:
                return jax.nn.softmax(logits.astype(jnp.float32), axis=-1)
            return jnp.argmax(logits, axis=-1).astype(jnp.uint8)

        return self._devices.apply(apply)


class _ArrayRows:
    """The rows of a picture that is in memory."""

    def __init__(self, image: Pixels):
        self.height, self.width = image.shape[:2]
        self._image, self._next = image, 0

    def read(self, num_rows: int) -> UInt8[np.ndarray, "n w 3"]:
        """Returns the next rows."""
        self._next += num_rows
        return self._image[self._next - num_rows : self._next]


def _scaled(side: int, scale: float) -> int:
    return max(1, round(side * scale))


def _resize_maps(
    maps: Float[np.ndarray, "_ _ k"], size: tuple[int, int]
) -> Float[np.ndarray, "_ _ k"]:
    if maps.shape[:2] == size:
        return maps
    height, width = size
    channels = [
        Image.fromarray(np.ascontiguousarray(maps[..., index])).resize(
            (width, height), Image.Resampling.BILINEAR
        )
        for index in range(maps.shape[2])
    ]
    return np.stack(channels, axis=-1)
