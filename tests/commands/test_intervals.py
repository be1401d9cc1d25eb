"""Intervals of differences: that they cover the truth, and what they are made of."""

import numpy as np
import pytest
import scipy.stats

from fcn_jax.ops.metrics import ClassSums
from fcn_jax.reports import intervals
from fcn_jax.reports.image_differences import find_image_differences
from fcn_jax.reports.intervals import find_intervals, find_missing, resample
from fcn_jax.reports.runs import Group, group_runs


def draw_images(rng, num_images):
    """Draws hits, true and predicted pixels `[2, n, 3, 3]` of two networks.

    Images are hard or easy for both, and the second is better at some of them.
    """
    true = rng.multinomial(400, [0.6, 0.3, 0.1], num_images)
    true *= rng.random((num_images, 3)) < [1, 0.7, 0.4]  # classes are in some of the images
    ease = rng.beta(3, 2, (num_images, 1))
    sums = []
    for gain in (0.0, 0.08):
        share = np.clip(ease + gain + rng.normal(0, 0.1, (num_images, 3)), 0, 1)
        hit = rng.binomial(true, share)
        # What is missed is predicted as another class.
        missed = (true - hit).sum(1, keepdims=True)
        sums.append(np.stack([hit, true, hit + missed // 3], axis=1))
    return np.stack(sums)


def difference(sums):
    totals = sums.sum(-3)
    parts = ClassSums(totals[..., 0, :], totals[..., 1, :], totals[..., 2, :])
    return np.diff(parts.scores()["mean_iou"])[0]


def test_intervals_cover_the_truth_in_95_of_100_cases():
    rng = np.random.default_rng(0)
    truth = difference(draw_images(rng, 100_000))
    covered = 0
    for _ in range(250):
        sums = draw_images(rng, 80)
        base, other = resample(rng, list(sums[:, None]), convention="caffe", num_resamples=300)
        drawn = other[0, :, 2] - base[0, :, 2]
        low, high = np.quantile(drawn, [0.025, 0.975])
        covered += low <= truth <= high
    assert 0.90 <= covered / 250 <= 0.98


def test_what_is_hard_for_both_cancels():
    """Of one network against itself every draw is the same."""
    sums = draw_images(np.random.default_rng(0), 30)[:1, None]
    rng = np.random.default_rng(1)
    base, other = resample(rng, [sums[0], sums[0]], convention="caffe", num_resamples=50)
    np.testing.assert_array_equal(base, other)
    assert base[0, :, 2].std() > 0


def test_draws_in_chunks_are_those_of_one_draw(monkeypatch):
    sums = list(draw_images(np.random.default_rng(0), 30)[:, None])
    options = {"convention": "present", "num_resamples": 25}
    whole = resample(np.random.default_rng(1), sums, **options)
    monkeypatch.setattr(intervals, "_CHUNK_BYTES", 8 * 30 * 4)
    parts = resample(np.random.default_rng(1), sums, **options)
    np.testing.assert_array_equal(parts, whole)


@pytest.fixture
def groups(make_run, read):
    runs = [
        make_run(f"fcn{stride}s_seed{seed}", stride=stride, seed=seed, has_images=True)
        for stride, seed in ((32, 0), (32, 1), (8, 0))
    ]
    return group_runs(list(map(read, runs)))


def test_differences_are_those_of_the_scores(groups):
    (found,) = find_intervals(groups, num_resamples=200)
    expected = groups[1].scores("mean_iou").mean() - groups[0].scores("mean_iou").mean()
    interval = found.scores["mean_iou"]
    assert interval.value == pytest.approx(expected, abs=1e-12)
    assert interval.low < interval.value < interval.high and interval.is_clear
    assert np.isnan(interval.seeds_low)  # the second group has one seed
    assert np.isnan(found.class_iou[-1].value)  # no image has this class
    (again,) = find_intervals(groups, num_resamples=200)
    assert again.scores == found.scores


def test_seeds_add_their_spread_by_welch():
    base, other = np.array([0.50, 0.52, 0.51]), np.array([0.55, 0.58])
    half = intervals._over_seeds(base, other, 0.0)
    expected = scipy.stats.ttest_ind(other, base, equal_var=False).confidence_interval(0.95)
    assert half == pytest.approx((expected.high - expected.low) / 2)
    # Without a spread of the seeds, what is left is that of the images.
    same = np.array([0.5, 0.5])
    assert intervals._over_seeds(same, same, 0.01) == pytest.approx(1.959964 * 0.1)


def test_runs_without_counts_of_images_have_differences_alone(make_run, read):
    groups = group_runs([read(make_run("a")), read(make_run("b", stride=32))])
    assert "a has no counts of single images" in find_missing(groups)
    (found,) = find_intervals(groups)
    assert found.scores["mean_iou"].value < 0 and np.isnan(found.scores["mean_iou"].low)


def test_runs_of_other_images_are_told(make_run, read):
    runs = [read(make_run(f"a{n}", num_images=n, has_images=True)) for n in (3, 4)]
    groups = [Group(run.name, (run,)) for run in runs]
    assert find_missing(groups) == "a3 and a4 were evaluated on other images"


def test_images_that_differ_most_come_first(groups):
    better, worse = find_image_differences(*groups, number=3)
    changes = [image.other - image.base for image in better]
    assert len(changes) == 3 and changes == sorted(changes, reverse=True) and changes[-1] > 0
    back = find_image_differences(*groups[::-1], number=3)
    assert [image.id for image in back[1]] == [image.id for image in better] and not worse
