"""How far a difference of scores depends on the images, and on the seeds, that were drawn.

Over images: the bootstrap. The images of the split are drawn anew with replacement, the same ones
for both sides, and every score is computed from the summed counts of what was drawn; the interval
lies between the percentiles of the differences. What is hard for both sides cancels.

Over images and seeds: where a side has several seeds, their spread adds to that of the images,
    variance = variance over images + s1 ** 2 / n1 + s2 ** 2 / n2,
with quantiles of Student's t (Welch 1947), as two or three seeds are too few to be drawn from: a
bootstrap of two values knows three means. Each side needs two seeds or more.

Source: Efron and Tibshirani 1993, Sec. 13.3 (percentile interval).
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.special
from jaxtyping import Float, Int64

from fcn_jax.reports.runs import Group, Run

NUM_RESAMPLES = 2000
LEVEL = 0.95
_SEED = 0
_CHUNK_BYTES = 2**26


@dataclass(frozen=True)
class Interval:
    """A difference of two scores, and where it lies in 95 of 100 cases.

    Attributes:
        value: The difference; NaN where a side has no such score.
        low, high: Bounds over images; NaN where the images were not counted one by one.
        seeds_low, seeds_high: Bounds over images and seeds; NaN where a side has one seed.
    """

    value: float
    low: float = math.nan
    high: float = math.nan
    seeds_low: float = math.nan
    seeds_high: float = math.nan

    @property
    def widest(self) -> tuple[float, float]:
        """The bounds over images and seeds, or, where there are none, over images."""
        if math.isnan(self.seeds_low):
            return self.low, self.high
        return self.seeds_low, self.seeds_high

    @property
    def is_clear(self) -> bool:
        """Whether 0 lies outside."""
        low, high = self.widest
        return low > 0 or high < 0


@dataclass(frozen=True, eq=False)
class Differences:
    """What each score of a group is above that of the base group.

    Attributes:
        scores: Differences of pixel_acc, mean_acc, mean_iou and fw_iou.
        class_iou: Differences of the IoU of each class.
    """

    scores: dict[str, Interval]
    class_iou: list[Interval]


def find_missing(groups: Sequence[Group]) -> str:
    """Says why there is no interval between these groups; '' if there are intervals."""
    runs = [run for group in groups for run in group.runs]
    for run in runs:
        if run.images is None:
            return (
                f"{run.name} has no counts of single images: an older version evaluated it "
                f"(python launch.py evaluate --workdir={run.folder.path} --step={run.step} adds "
                "them)"
            )
        if run.images.ids != runs[0].images.ids:
            return f"{runs[0].name} and {run.name} were evaluated on other images"
    return ""


def find_intervals(
    groups: Sequence[Group], *, num_resamples: int = NUM_RESAMPLES
) -> list[Differences]:
    """Compares every group with the first one; the list begins with the second group.

    Without counts of single images (`find_missing` says so) the differences have no bounds.
    """
    values = [_stack([run.scores for run in group.runs]) for group in groups]
    if find_missing(groups):
        resampled = [
            np.full((len(group.runs), 1, v.shape[-1]), np.nan)
            for group, v in zip(groups, values, strict=True)
        ]
    else:
        rng = np.random.default_rng(_SEED)
        sums = [np.stack([class_sums(run) for run in group.runs]) for group in groups]
        convention = groups[0].first.evaluation["convention"]
        resampled = resample(rng, sums, convention=convention, num_resamples=num_resamples)
    return [
        _compare(values[0], values[i], resampled[0], resampled[i]) for i in range(1, len(groups))
    ]


def class_sums(run: Run) -> Int64[np.ndarray, "n 3 k"]:
    """Returns hits, true pixels and predicted pixels of each image and class."""
    from fcn_jax.ops.metrics import ClassSums  # here and not above: it imports jax

    return np.stack(ClassSums.of(run.images.counts), axis=1)


def resample(
    rng: np.random.Generator,
    sums: Sequence[Int64[np.ndarray, "_ n 3 k"]],
    *,
    convention: str,
    num_resamples: int,
) -> list[Float[np.ndarray, "_ {num_resamples} _"]]:
    """Scores networks on images that are drawn with replacement, the same ones for all.

    Args:
        rng: Source of the draws.
        sums: What `class_sums` returns, for each run of each group.
        convention: Convention of the scores.
        num_resamples: Number of draws of n images.

    Returns:
        For each group pixel_acc, mean_acc, mean_iou, fw_iou and the IoU of each class, in a row.
    """
    found = [[] for _ in sums]
    for weights in _draw(rng, sums[0].shape[1], num_resamples):
        for group, scored in zip(sums, found, strict=True):
            # Sums of pixels are whole numbers below 2 ** 53, so that float64 holds them exactly.
            flat = group.reshape(*group.shape[:2], -1).astype(np.float64)
            drawn = (weights @ flat).reshape(len(group), len(weights), *group.shape[2:])
            scored.append(_score(drawn, convention=convention))
    return [np.concatenate(scored, axis=1) for scored in found]


def _draw(
    rng: np.random.Generator, num_images: int, num_resamples: int
) -> Iterator[Float[np.ndarray, "some n"]]:
    """Yields how often each image is drawn, for some resamples after the other."""
    most = max(1, _CHUNK_BYTES // (8 * num_images))
    shares = np.full(num_images, 1 / num_images)
    while num_resamples > 0:
        some = min(most, num_resamples)
        yield rng.multinomial(num_images, shares, size=some).astype(np.float64)
        num_resamples -= some


_KEYS = ("pixel_acc", "mean_acc", "mean_iou", "fw_iou")


def _score(
    sums: Float[np.ndarray, "seeds some 3 k"], *, convention: str
) -> Float[np.ndarray, "seeds some scores"]:
    from fcn_jax.ops.metrics import ClassSums

    parts = ClassSums(sums[:, :, 0], sums[:, :, 1], sums[:, :, 2])
    found = parts.scores(convention=convention)
    return np.concatenate([np.stack([found[k] for k in _KEYS], -1), found["class_iou"]], -1)


def _stack(scores: Sequence[dict]) -> Float[np.ndarray, "seeds scores"]:
    return np.array([[*(s[k] for k in _KEYS), *s["class_iou"]] for s in scores])


def _compare(
    base: Float[np.ndarray, "s scores"],
    other: Float[np.ndarray, "t scores"],
    base_drawn: Float[np.ndarray, "s r scores"],
    other_drawn: Float[np.ndarray, "t r scores"],
) -> Differences:
    value = other.mean(0) - base.mean(0)
    drawn = other_drawn.mean(0) - base_drawn.mean(0)
    intervals = []
    for i in range(len(value)):
        of_images = drawn[:, i][~np.isnan(drawn[:, i])]  # a class may be in none of the drawn
        if not of_images.size or math.isnan(value[i]):
            intervals.append(Interval(float(value[i])))
            continue
        tail = (1 - LEVEL) / 2
        low, high = np.quantile(of_images, [tail, 1 - tail])
        of_seeds = _over_seeds(base[:, i], other[:, i], float(of_images.var()))
        intervals.append(
            Interval(
                float(value[i]),
                float(low),
                float(high),
                *(() if of_seeds is None else (value[i] - of_seeds, value[i] + of_seeds)),
            )
        )
    return Differences(dict(zip(_KEYS, intervals, strict=False)), intervals[len(_KEYS) :])


def _over_seeds(
    base: Float[np.ndarray, " s"], other: Float[np.ndarray, " t"], variance: float
) -> float | None:
    """Returns half the width over images and seeds; None if a side has one seed.

    The degrees of freedom are Welch's, those of the images infinite.
    """
    sides = [side for side in (base, other) if len(side) > 1 and not np.isnan(side).any()]
    if len(sides) < 2:
        return None
    parts = [side.var(ddof=1) / len(side) for side in sides]
    total = variance + sum(parts)
    spread = sum(p**2 / (len(side) - 1) for p, side in zip(parts, sides, strict=True))
    freedom = total**2 / spread if spread > 0 else math.inf
    return float(scipy.special.stdtrit(freedom, (1 + LEVEL) / 2) * math.sqrt(total))
