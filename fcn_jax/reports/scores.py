"""What an evaluation says of itself: a table of classes, the worst images, the confusion matrix."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from fcn_jax.errors import counted
from fcn_jax.reports.confusion_figure import draw_confusion
from fcn_jax.reports.image_scores import ImageScores
from fcn_jax.reports.terminal import print_table
from fcn_jax.train.image_counts import ImageCounts


def print_report(report: Mapping[str, Any], *, name: str) -> None:
    """Prints the scores of one evaluation, class by class.

    Args:
        report: What `Evaluator.make_report` made; `how`, if it is there, says what is not plain.
        name: Name of what was scored.
    """
    console = Console(highlight=False, markup=False)  # the names are the user's
    how = f", {', '.join(report['how'])}" if "how" in report else ""
    console.print(
        f"{name}: {report['dataset']} {report['split']}, step {report['step']}{how}",
        soft_wrap=True,
    )
    table = Table(box=SIMPLE_HEAD)
    table.add_column("class")
    table.add_column("IoU", justify="right")
    table.add_column("share of pixels", justify="right")
    share = report["counts"].sum(1) / max(report["counts"].sum(), 1)
    rows = zip(report["class_names"], report["class_iou"], share, strict=True)
    for class_name, iou, pixels in rows:
        table.add_row(class_name, "-" if math.isnan(iou) else f"{iou:.4f}", f"{pixels:.4f}")
    print_table(table)
    console.print(
        f"mean IoU {report['mean_iou']:.4f}   pixel accuracy {report['pixel_acc']:.4f}   "
        f"mean accuracy {report['mean_acc']:.4f}   f.w. IoU {report['fw_iou']:.4f}   "
        f"(convention {report['convention']})",
        soft_wrap=True,
    )
    shapes = counted(report["num_shapes"], "shape")
    console.print(f"{counted(report['num_images'], 'image')} in {report['eval_s']} s, {shapes}")


def file_details(report: Mapping[str, Any], images: ImageCounts, file: Path) -> None:
    """Writes the scores of each image and the confusion matrix beside a JSON file of scores."""
    scores = ImageScores.of(images, convention=report["convention"])
    scores.write_csv(file.with_suffix(".csv"), class_names=report["class_names"])
    draw_confusion(
        report["counts"],
        file.with_suffix(".png"),
        class_names=report["class_names"],
        title=f"{report['dataset']} {report['split']}, step {report['step']}",
    )
    worst = ", ".join(f"{image_id} {iou:.4f}" for image_id, iou in scores.worst(5))
    print(f"worst images by mean IoU: {worst or 'none has a label'}")
    print(f"every image in {file.with_suffix('.csv')}, confusion matrix in {file.stem}.png")
