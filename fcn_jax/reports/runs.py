"""Runs that enter a report, and groups of runs that differ in nothing but their seeds.

A report needs the JSON files and the sample pictures of run folders: no data set, no checkpoint, no
device. Scores are computed again from the confusion counts, and must agree with the stored ones.
"""

import os
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fcn_jax.errors import MissingError, UserError
from fcn_jax.train.image_counts import ImageCounts
from fcn_jax.train.json_file import Number, check_keys, damaged
from fcn_jax.train.run_folder import RunFolder

SCORES = {
    "mean_iou": "mean IoU",
    "pixel_acc": "pixel acc",
    "mean_acc": "mean acc",
    "fw_iou": "fw IoU",
}

# What a report says of a run, wherever it is from.
_INFO = {"experiment": str, "seed": int, "num_params": int}
_LAUNCH = {
    "command": str, "start_step": int, "devices": list, "machine": str, "python": str,
    "versions": dict, "git_commit": str, "git_dirty": bool,
}  # fmt: skip
_LINE = {"loss": Number, "images_per_s": Number}
_EVALUATION = {
    "dataset": str, "split": str, "num_images": int, "convention": str, "class_names": list,
    "counts": list, **dict.fromkeys(SCORES, Number),
}  # fmt: skip

# Stored scores are the same float64 arithmetic on the same integers, printed as JSON.
_TOLERANCE = 1e-9


@dataclass(frozen=True)
class Run:
    """A run, and the one evaluation of it that enters the report.

    Attributes:
        name: Short name, unlike those of the other runs.
        folder: The run folder.
        config: Content of config.json.
        conditions: What the run computes from, {"section.key": value}.
        info: Content of run.json.
        train_log: Train lines of metrics.jsonl, one for each step, in order of steps.
        evaluations: Evaluations of the split, {step: report}, in order of steps.
        step: Step of the evaluation that is reported.
        scores: Scores computed from the counts of this evaluation.
        boundary_iou: Mean IoU near boundaries, computed from its counts; NaN if it has none.
        images: Counts of each image of this evaluation; None if an older version made it.
    """

    name: str
    folder: RunFolder
    config: dict
    conditions: dict
    info: dict
    train_log: list[dict]
    evaluations: dict[int, dict]
    step: int
    scores: dict
    boundary_iou: float
    images: ImageCounts | None

    @property
    def evaluation(self) -> dict:
        return self.evaluations[self.step]

    @property
    def class_names(self) -> list[str]:
        return self.evaluation["class_names"]

    @property
    def train_minutes(self) -> float:
        # A launch that was killed early did not get to note its time.
        return sum(launch.get("train_s", 0) for launch in self.info["launches"]) / 60

    @property
    def images_per_s(self) -> float:
        rates = [line["images_per_s"] for line in self.train_log]
        return float(np.median(rates)) if rates else float("nan")

    def sample_files(self, image_id: str) -> tuple[Path, Path, Path]:
        """Returns where the image, its label and its prediction at the step are."""
        split = self.evaluation["split"]
        return self.folder.samples.files(image_id, split=split, step=self.step)

    def list_samples(self) -> list[str]:
        """Lists the images that have a label and a prediction at the step."""
        return self.folder.samples.list_ids(self.evaluation["split"], self.step)


@dataclass(frozen=True)
class Group:
    """Runs that differ in nothing but their seeds, in the order of their seeds.

    Attributes:
        name: What the names of the runs have in common.
        runs: The runs.
    """

    name: str
    runs: tuple[Run, ...]

    @property
    def first(self) -> Run:
        return self.runs[0]

    @property
    def seeds(self) -> list[int]:
        return [run.conditions["seed"] for run in self.runs]

    @property
    def boundary_iou(self) -> np.ndarray:
        """Boundary IoU of each run."""
        return np.array([run.boundary_iou for run in self.runs])

    @property
    def class_iou(self) -> np.ndarray:
        """IoU of each run and class, `[runs, classes]`."""
        return np.stack([run.scores["class_iou"] for run in self.runs])

    def scores(self, key: str) -> np.ndarray:
        """Returns a score of each run."""
        return np.array([run.scores[key] for run in self.runs])


def group_runs(runs: Sequence[Run]) -> list[Group]:
    """Puts runs of the same experiment together, groups in the order of their first runs."""
    groups: list[dict[int, Run]] = []
    for run in runs:
        seed, same = run.conditions["seed"], _all_but_seed(run)
        for group in groups:
            if seed not in group and same == _all_but_seed(next(iter(group.values()))):
                group[seed] = run
                break
        else:
            groups.append({seed: run})
    members = [tuple(group[seed] for seed in sorted(group)) for group in groups]
    names = [_common_name([run.name for run in runs]) for runs in members]
    if len(set(names)) < len(names):
        names = [runs[0].name for runs in members]
    return [Group(name, runs) for name, runs in zip(names, members, strict=True)]


def _all_but_seed(run: Run) -> dict:
    """Returns what runs have to have in common to differ in nothing but their seeds."""
    evaluation = {
        key: run.evaluation.get(key) for key in ("num_images", "convention", "boundary_px")
    }
    true_pixels = [sum(row) for row in run.evaluation["counts"]]
    return {
        **run.conditions,
        "seed": None,
        "step": run.step,
        **evaluation,
        "pixels": true_pixels,
    }


def _common_name(names: Sequence[str]) -> str:
    if len(names) == 1:
        return names[0]
    common = re.sub(r"([-_./]?seed)?[-_./]?\d*$", "", os.path.commonprefix(names))
    return common or names[0]


def short_names(folders: Sequence[Path]) -> list[str]:
    """Names folders by their last parts, as many as it takes to tell them apart."""
    parts = [folder.resolve().parts for folder in folders]
    for depth in range(1, max(map(len, parts)) + 1):
        names = ["/".join(part[-depth:]) for part in parts]
        if len(set(names)) == len(names):
            return names
    raise UserError("a run folder is given twice; give each once")


def shorten_names(groups: Sequence[Group]) -> tuple[list[Group], str]:
    """Leaves out what all names begin with; returns the groups under their names, and the rest.

    Names that have less than two words in common stay.
    """
    names = [group.name for group in groups]
    prefix = re.match(r"(.*[_/-])?", os.path.commonprefix(names))[0]
    if len(groups) < 2 or len(re.findall(r"[_/-]", prefix)) < 2 or prefix in names:
        return list(groups), ""
    return [replace(group, name=group.name.removeprefix(prefix)) for group in groups], prefix


def common_samples(runs: Sequence[Run]) -> list[str]:
    """Returns the ids, sorted, that have an image, a label and a prediction in every run."""
    return sorted(set.intersection(*(set(run.list_samples()) for run in runs)))


def read_run(path: Path, *, name: str, split: str, step: str) -> Run:
    """Reads a run folder.

    Args:
        path: The run folder.
        name: Name of the run in the report.
        split: Split whose evaluations are read.
        step: Step of the evaluation that is reported: 'last', 'best' (highest mean IoU on the
            split) or a number.

    Raises:
        MissingError: If it is no run folder, or has no such evaluation.
        UserError: If a file is damaged, or the stored scores are not those of the counts.
    """
    folder = RunFolder(path)
    info, config = folder.read_run(), folder.read_config()
    evaluations = folder.read_evals(split)
    check_keys(info, _INFO, where=folder.path / "run.json")
    for launch in info["launches"]:
        check_keys(launch, _LAUNCH, where=folder.path / "run.json")
    train_log = folder.read_metrics("train")
    for line in train_log:
        check_keys(line, _LINE, where=folder.path / "metrics.jsonl")
    scores = {
        at: _check_evaluation(evaluation, folder.eval_file(split, at), split=split, step=at)
        for at, evaluation in evaluations.items()
    }
    chosen = _choose_step(evaluations, step)
    if chosen is None:
        which = f"step {step}" if step.isdecimal() else f"the {step} step"
        there = ", ".join(f"{split}-{step}" for split, step in folder.list_evals()) or "none"
        raise MissingError(
            f"{path} has no evaluation of {split} at {which}; its evaluations: {there}\n"
            f"Make one: python launch.py evaluate --workdir={shlex.quote(str(path))} "
            f"--split={split} --step={step}"
        )
    file = folder.eval_file(split, chosen)
    return Run(
        name=name,
        folder=folder,
        config=config,
        conditions=folder.read_conditions(),
        info=info,
        train_log=train_log,
        evaluations=evaluations,
        step=chosen,
        scores=scores[chosen],
        boundary_iou=_boundary_iou(evaluations[chosen], file),
        images=folder.read_image_counts(split, chosen),
    )


def _choose_step(evaluations: dict[int, dict], step: str) -> int | None:
    if step == "last":
        return max(evaluations, default=None)
    if step == "best":
        return max(evaluations, key=lambda s: evaluations[s]["mean_iou"] or 0.0, default=None)
    if step.isdecimal():
        return int(step) if int(step) in evaluations else None
    raise UserError(f"--step={step}; wanted last, best or a number")


def _check_evaluation(evaluation: dict, path: Path, *, split: str, step: int) -> dict:
    """Returns the scores of an evaluation; refuses it unless all it says fits together."""
    check_keys(evaluation, _EVALUATION, where=path)
    said = evaluation["split"], evaluation.get("step", step)
    if said != (split, step):
        raise damaged(path, ValueError(f"it says that it is of {said[0]}, step {said[1]}"))
    scores = _scores(evaluation, "counts", path)
    for key, label in SCORES.items():
        _check_score(scores[key], evaluation[key], label, path)
    return scores


def _boundary_iou(evaluation: dict, path: Path) -> float:
    if "boundary_counts" not in evaluation:
        return float("nan")  # made before there was this score
    check_keys(evaluation, {"boundary_iou": Number}, where=path)
    iou = _scores(evaluation, "boundary_counts", path)["mean_iou"]
    _check_score(iou, evaluation["boundary_iou"], "boundary IoU", path)
    return iou


def _scores(evaluation: dict, key: str, path: Path) -> dict:
    # Here and not above: metrics imports jax, which --help and the errors before need not await.
    from fcn_jax.ops import metrics

    try:
        counts = np.array(evaluation[key], np.int64)
        num_classes = len(evaluation["class_names"])
        if counts.shape != (num_classes, num_classes) or (counts < 0).any():
            raise ValueError(f"its {key} are of shape {counts.shape} for {num_classes} classes")
        return metrics.scores(counts, convention=evaluation["convention"])
    except (ValueError, TypeError, OverflowError, KeyError) as error:
        raise damaged(path, error) from error


def _check_score(computed: float, stored: float | None, label: str, path: Path) -> None:
    stored = float("nan") if stored is None else stored
    if not np.isclose(computed, stored, rtol=0, atol=_TOLERANCE, equal_nan=True):
        raise UserError(
            f"{path}: its counts give {label} {computed:.6f}, but it says {stored:.6f}\n"
            "one of them was changed: remove the file and evaluate again"
        )
