"""What a checkup of a folder found, as the JSON file of `check_data` has it."""

import math
from collections import Counter
from typing import Any

import numpy as np

from fcn_jax.data.checkup import Checkup
from fcn_jax.data.class_weights import inverse_log, median_frequency
from fcn_jax.errors import UserError
from fcn_jax.ops import metrics


def make_report(experiment: str, config: dict[str, Any], checkup: Checkup) -> dict[str, Any]:
    """Puts what a checkup found into words and numbers, as an experiment would use the folder."""
    train, val = config["train"]["split"], config["eval"]["split"]
    problems = [{"kind": p.kind, "message": str(p)} for p in checkup.problems]
    for split in dict.fromkeys((train, val)):
        if split not in checkup.splits:
            message = f"{experiment} needs the split {split!r}; this folder makes "
            message += ", ".join(checkup.splits) or "none"
            key = "eval" if split == val else "train"
            message += f"; add it, or name another one by --config.{key}.split=SPLIT"
            problems.append({"kind": "missing split", "message": message})
        elif (lack := checkup.find_lack(split)) and str(lack) not in map(str, checkup.problems):
            problems.append({"kind": lack.kind, "message": str(lack)})
    return {
        "experiment": experiment,
        "dataset": config["data"]["name"],
        "source_dir": config["data"]["source_dir"],
        "split_by": checkup.split_by,
        "ok": not problems,
        "problems": problems,
        "remarks": list(checkup.remarks),
        "lists": [_describe_list(name, found) for name, found in checkup.facts.items()],
        "splits": {split: len(picks) for split, picks in checkup.splits.items()},
        "train_split": train,
        "eval_split": val,
        **_describe_classes(checkup, train, val),
        "baseline": _score_baseline(checkup, train, val, config["eval"]["convention"]),
        "evaluation": _describe_shapes(checkup.read(val), config["eval"]["size_multiple"]),
    }


def _describe_list(name: str, found: list) -> dict[str, Any]:
    readable = [facts for facts in found if facts]
    sizes = Counter(facts.size for facts in readable)
    return {
        "name": name,
        "num_pairs": len(found),
        "num_readable": len(readable),
        "image_kinds": dict(Counter(facts.image_kind for facts in readable)),
        "label_kinds": dict(Counter(facts.label_kind for facts in readable)),
        "sizes": [{"height": h, "width": w, "images": n} for (h, w), n in sizes.most_common()],
    }


def _describe_classes(checkup: Checkup, train: str, val: str) -> dict[str, Any]:
    columns = {}
    for split in dict.fromkeys((train, val)):
        pixels = checkup.count_pixels(split)
        every = sum(int(facts.counts.sum()) for facts in checkup.read(split))
        columns[split] = {
            "pixels": pixels.sum(0).tolist(),
            "images": (pixels > 0).sum(0).tolist(),
            "void_pixels": every - int(pixels.sum()),
            "value_sets": _group_by_values(checkup.read(split)),
        }
    pixels = checkup.count_pixels(train)
    return {
        "class_names": list(checkup.labels.names),
        "class_counts": columns,
        "class_weights": {
            "median_frequency": median_frequency(pixels).tolist(),
            "inverse_log": inverse_log(pixels).tolist(),
        },
    }


def _group_by_values(found: list) -> list[dict[str, Any]]:
    """Groups labels by the values that they hold, the largest group first."""
    groups = Counter(facts.values for facts in found)
    example = {facts.values: facts.pair.label_file.name for facts in reversed(found)}
    return [
        {"values": list(values), "labels": count, "example": example[values]}
        for values, count in groups.most_common()
    ]


def _score_baseline(
    checkup: Checkup, train: str, val: str, convention: str
) -> dict[str, Any] | None:
    """Scores a network that sees the most frequent class of `train` at every pixel of `val`."""
    in_train, in_val = (checkup.count_pixels(split).sum(0) for split in (train, val))
    if not in_train.any() or not in_val.any():
        return None
    number = int(in_train.argmax())
    counts = np.zeros((len(in_val), len(in_val)), np.int64)
    counts[:, number] = in_val
    scores = metrics.scores(counts, convention=convention)
    return {
        "class_name": checkup.labels.names[number],
        "mean_iou": scores["mean_iou"],
        "pixel_acc": scores["pixel_acc"],
        "convention": convention,
    }


def _describe_shapes(val: list, size_multiple: int) -> dict[str, Any]:
    """Describes the shapes that evaluation pads the images to; each of them is compiled once."""
    if size_multiple < 1:
        raise UserError(f"eval.size_multiple={size_multiple} must be 1 or more")

    def pad(side: int) -> int:
        return -(-side // size_multiple) * size_multiple

    shapes = Counter((pad(facts.size[0]), pad(facts.size[1])) for facts in val)
    padded = sum(height * width * images for (height, width), images in shapes.items())
    native = sum(facts.size[0] * facts.size[1] for facts in val)
    return {
        "size_multiple": size_multiple,
        "shapes": [{"height": h, "width": w, "images": n} for (h, w), n in shapes.most_common()],
        "padding_frac": 1 - native / padded if padded else 0.0,
    }


def without_nan(value: Any) -> Any:
    """Writes None, which JSON has, for every number that is none."""
    if isinstance(value, dict):
        return {key: without_nan(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [without_nan(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
