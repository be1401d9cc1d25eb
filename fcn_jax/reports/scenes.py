"""Images on a page, with their truth, what each run predicted, and where it erred.

Pictures are data inside the page.
"""

import base64
import io
import math
from collections.abc import Sequence

import numpy as np
from PIL import Image

from fcn_jax.ops.palette import VOID_COLOR
from fcn_jax.reports.elements import break_name, write_legend, write_panel
from fcn_jax.reports.pictures import ERROR_COLORS, VOID, Scene, read_palette
from fcn_jax.reports.runs import Group
from fcn_jax.reports.tables import decimals

_LONGEST_SIDE = 400  # pixels of a picture on the page


def write_scenes(groups: Sequence[Group], scenes: Sequence[Scene]) -> str:
    """Shows images with truth, predictions and errors, after one legend."""
    palette = read_palette(groups[0].first, scenes[0].id)
    palette[VOID] = VOID_COLOR
    names = {**dict(enumerate(groups[0].first.class_names)), VOID: "void"}
    used = set()
    for scene in scenes:
        used.update(*(np.unique(numbers).tolist() for numbers in (scene.label, *scene.preds)))
    entries = [(_css(palette[i]), name) for i, name in names.items() if i in used]
    meanings = zip(map(_css, ERROR_COLORS), ("right", "wrong", "unlabelled"), strict=True)
    return (
        write_legend(entries)
        + '<p class="soft">In the error maps:</p>'
        + write_legend(meanings)
        + "".join(_scene(groups, scene, palette, names) for scene in scenes)
    )


def _scene(
    groups: Sequence[Group], scene: Scene, palette: np.ndarray, names: dict[int, str]
) -> str:
    truth = f"Truth of {scene.id}: {_shares(scene.label, names)}"
    pairs = [
        write_panel(_photo(scene.image), "image", f"Image {scene.id}")
        + write_panel(_map(scene.label, palette), "truth", truth)
    ]
    for index, group in enumerate(groups):
        pred, errors = scene.preds[index], scene.errors(index)
        accuracy = f"pixel accuracy {decimals(scene.pixel_acc(index), 3)}"
        said = f"Prediction of {group.name}: {_shares(pred, names)}"
        pairs.append(
            write_panel(_map(pred, palette), group.name, said)
            + write_panel(
                _map(errors, ERROR_COLORS),
                f"errors, {accuracy}",
                f"Errors of {group.name}: {accuracy}",
            )
        )
    panels = "".join(f'<div class="pair">{pair}</div>' for pair in pairs)
    title = f"<h3>{break_name(scene.id)}</h3>"
    return f'<div class="scene">{title}<div class="panels">{panels}</div></div>\n'


def _shares(numbers: np.ndarray, names: dict[int, str]) -> str:
    """Says what share of the pixels the most frequent classes have."""
    counts = np.bincount(numbers.ravel(), minlength=256)
    largest = [i for i in np.argsort(-counts, kind="stable")[:4] if counts[i]]
    return ", ".join(
        f"{names.get(int(i), f'class {i}')} {counts[i] / numbers.size:.0%}" for i in largest
    )


def _photo(image: np.ndarray) -> str:
    picture = Image.fromarray(image)
    picture.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE))
    return _encode(picture, "JPEG", quality=82)


def _map(numbers: np.ndarray, colors: np.ndarray) -> str:
    every = max(1, math.ceil(max(numbers.shape) / _LONGEST_SIDE))
    picture = Image.fromarray(np.ascontiguousarray(numbers[::every, ::every]), mode="P")
    picture.putpalette(np.ascontiguousarray(colors).tobytes())
    return _encode(picture, "PNG", optimize=True)


def _encode(picture: Image.Image, form: str, **options) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, form, **options)
    text = base64.b64encode(buffer.getvalue()).decode()
    return f"data:image/{form.lower()};base64,{text}"


def _css(color: np.ndarray) -> str:
    red, green, blue = color.tolist()
    return f"#{red:02x}{green:02x}{blue:02x}"
