"""The account of every leaf, and what is not put into a network."""

import re

import numpy as np
import pytest

from fcn_jax.weights.transplant import transplant


def leaves(*names, channels=4):
    return {
        name: np.full((3, 3, 2, channels) if name.endswith("kernel") else (channels,), float(index))
        for index, name in enumerate(names, start=1)
    }


BACKBONE = ("params/backbone/conv1/kernel", "params/backbone/conv1/bias")
NORMED = (
    "params/backbone/conv1/kernel",
    "params/backbone/conv1/norm/scale",
    "params/backbone/conv1/norm/bias",
    "batch_stats/backbone/conv1/norm/mean",
    "batch_stats/backbone/conv1/norm/var",
)
FC6 = ("params/fc6/kernel", "params/fc6/bias")
SCORE = ("params/score_fr/kernel", "params/score_fr/bias")


def test_every_leaf_of_both_sides_is_in_the_report():
    target, source = leaves(*BACKBONE, *SCORE), leaves(*BACKBONE, *FC6)
    found, report = transplant(target, source)
    assert list(found) == list(BACKBONE)
    assert all(found[name] is source[name] for name in BACKBONE)
    rows = [(row.leaf, row.action, row.source) for row in report.rows]
    assert rows == [
        (BACKBONE[0], "copied", BACKBONE[0]),
        (BACKBONE[1], "copied", BACKBONE[1]),
        (SCORE[0], "as initialised", ""),
        (SCORE[1], "as initialised", ""),
        ("", "unused", FC6[0]),
        ("", "unused", FC6[1]),
    ]
    assert report.counts == {"copied": 2, "as initialised": 2, "unused": 2}


def test_report_is_a_table_that_ends_with_the_counts():
    _, report = transplant(leaves(*BACKBONE, *SCORE), leaves(*BACKBONE, *FC6))
    lines = str(report).splitlines()
    assert lines[0].split() == ["leaf", "action", "source", "shape"]
    assert lines[1].split() == [BACKBONE[0], "copied", BACKBONE[0], "3x3x2x4"]
    assert lines[3].split() == [SCORE[0], "as", "initialised", "-", "3x3x2x4"]
    assert lines[6].split() == ["-", "unused", FC6[1], "4"]
    assert lines[7:] == ["2 copied, 2 as initialised, 2 unused"]


def test_skip_keeps_what_would_not_fit():
    target, source = leaves(*BACKBONE, *SCORE), leaves(*BACKBONE, *SCORE)
    source |= leaves(*SCORE, channels=9)
    found, report = transplant(target, source, skip=["params/score_fr/.*"])
    assert list(found) == list(BACKBONE)
    assert report.counts == {"copied": 2, "as initialised": 2, "unused": 2}


FC6_NORMED = tuple(name.replace("backbone/conv1", "fc6") for name in NORMED)


def test_layer_that_is_wholly_skipped_may_have_a_norm_on_one_side_alone():
    target, source = leaves(*NORMED, *FC6_NORMED), leaves(*NORMED, *FC6)
    skip = ["params/fc[67]/.*", "batch_stats/fc[67]/.*"]
    found, report = transplant(target, source, skip=skip)
    assert list(found) == list(NORMED)
    assert report.counts == {"copied": 5, "as initialised": 5, "unused": 2}
    with pytest.raises(
        ValueError, match="fc6/norm/mean is only in the network: one has batch norm"
    ):
        transplant(target, source, skip=skip[:1])


def test_last_layer_before_the_classifier_may_be_unused():
    last = [name.replace("conv1", "conv_last") for name in NORMED]
    _, report = transplant(leaves(*NORMED), leaves(*NORMED, *last))
    assert report.counts == {"copied": 5, "unused": 5}


@pytest.mark.parametrize(
    ("target", "source", "message"),
    [
        (leaves(*BACKBONE), leaves(*BACKBONE, channels=5),
         "conv1/kernel is 3x3x2x5 in the weights and 3x3x2x4 in the network"),
        (leaves(*NORMED), leaves(*BACKBONE), "scale is only in the network: one has batch norm"),
        (leaves(*BACKBONE), leaves(*NORMED), "bias is only in the network: one has batch norm"),
        (leaves(*BACKBONE, "params/backbone/conv2/kernel"), leaves(*BACKBONE),
         "conv2/kernel is only in the network: the backbones differ"),
        (leaves(*BACKBONE), leaves(*BACKBONE, "params/backbone/conv2/kernel"),
         "conv2/kernel is only in the weights: the backbones differ"),
        (leaves(*BACKBONE), leaves(*SCORE), "no array in common: params/score_fr/kernel, "),
    ],
)  # fmt: skip
def test_transplant_rejects(target, source, message):
    with pytest.raises(ValueError, match=message):
        transplant(target, source)


@pytest.mark.parametrize("pattern", ["*fc8", "params/(fc8/.*"])
def test_transplant_rejects_what_is_no_pattern(pattern):
    message = rf"skip: {re.escape(repr(pattern))} is no regular expression .*'params/fc8/\.\*'"
    with pytest.raises(ValueError, match=message):
        transplant(leaves(*BACKBONE), leaves(*BACKBONE), skip=[pattern])


def test_transplant_rejects_a_pattern_without_a_leaf():
    with pytest.raises(ValueError, match=r"skip=\['score.\*'\] match no array"):
        transplant(leaves(*BACKBONE), leaves(*BACKBONE), skip=["score.*", "params/.*"])
