"""Laws of one update: what the loss is, and that the devices do not show."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fcn_jax.models import atrous_head
from fcn_jax.models.head import AUXILIARY
from fcn_jax.models.zoo import build
from fcn_jax.ops.losses import make_loss, softmax_cross_entropy
from fcn_jax.train import parallel
from fcn_jax.train.compilations import count_compilations
from fcn_jax.train.state import init_state, init_variables
from fcn_jax.train.steps import LabelGrid, make_train_step
from tests.tiny_network import TINY, TINY_WITH_AUX
from tests.train.conftest import NUM_CLASSES, VOID


def make_batch(num_images: int = 4, size: int = 40) -> dict[str, np.ndarray]:
    """A batch whose void pixels are spread unevenly: the last image has almost no label."""
    rng = np.random.default_rng(5)
    labels = rng.integers(0, NUM_CLASSES, (num_images, size, size), np.uint8)
    labels[0, :20] = VOID
    labels[-1, 1:] = VOID
    return {
        # Near the mean, so that a network without norm has moderate logits.
        "images": rng.integers(110, 130, (num_images, size, size, 3), np.uint8),
        "labels": labels,
    }


EVERY_TERM = {
    "class_weights": tuple(1 + index % 3 for index in range(NUM_CLASSES)),
    "ohem_fraction": 0.4,
    "cross_entropy_weight": 0.5,
    "dice_weight": 2.0,
}


def step_once(
    model, variables, batch, *, count=1, form="pmap", optimizer=None, loss=None, **options
):
    optimizer = optimizer or optax.sgd(0.1)
    devices = parallel.get_devices(count=count, form=form)
    train_step = make_train_step(
        model,
        optimizer,
        loss=make_loss(num_classes=NUM_CLASSES, ignore_label=VOID, **loss or {}),
        key=jax.random.key(1),
        ignore_label=VOID,
        devices=devices,
        **options,
    )
    state = devices.replicate(init_state(variables, optimizer))
    return jax.device_get(train_step(state, devices.shard(batch)))


def test_first_loss_of_zero_scores_is_log_num_classes(make_model):
    model = make_model(skips=(2, 1))  # three scores are added
    variables = init_variables(jax.random.key(0, impl="rbg"), model)
    _, sums = step_once(model, variables, make_batch())
    loss = sums["loss_sum"] / sums["count"]
    np.testing.assert_allclose(loss, np.log(NUM_CLASSES), rtol=1e-6)


def test_only_the_first_step_compiles(make_model, random_variables):
    model, optimizer, devices = make_model(), optax.sgd(0.1), parallel.get_devices(count=2)
    train_step = make_train_step(
        model,
        optimizer,
        loss=make_loss(num_classes=NUM_CLASSES, ignore_label=VOID),
        key=jax.random.key(1),
        ignore_label=VOID,
        devices=devices,
    )
    state = devices.replicate(init_state(random_variables(model), optimizer))
    with count_compilations() as compilations:
        for _ in range(3):
            state, _ = train_step(state, devices.shard(make_batch()))
    assert compilations.count == 1 and compilations.compile_s > 0


def test_void_only_batch_gives_no_loss_and_no_gradient(make_model, random_variables):
    model = make_model()
    variables = random_variables(model)
    batch = make_batch()
    batch["labels"][:] = VOID
    state, sums = step_once(model, variables, batch)
    assert sums["loss_sum"] == 0 and sums["count"] == 0 and sums["grad_norm"] == 0
    jax.tree.map(np.testing.assert_array_equal, state.params, variables["params"])


def test_what_is_scored_aside_adds_its_loss_with_its_weight(random_variables, monkeypatch):
    monkeypatch.setattr("fcn_jax.models.atrous_head.AUX_DROPOUT", 0.0)
    model = build(
        TINY_WITH_AUX, num_classes=NUM_CLASSES, axis_name=None, norm="none", aux_weight=0.3
    )
    variables, batch = random_variables(model), make_batch()

    def objective(params):
        logits, extra = model.apply(
            {"params": params}, jnp.asarray(batch["images"]), train=True, mutable=[AUXILIARY]
        )
        [[aside]] = extra[AUXILIARY].values()
        losses = [
            softmax_cross_entropy(scores, jnp.asarray(batch["labels"]), ignore_label=VOID)
            for scores in (logits, aside.logits)
        ]
        means = [loss_sum / pixels for loss_sum, pixels in losses]
        return means[0] + 0.3 * means[1]

    loss, grads = jax.jit(jax.value_and_grad(objective))(variables["params"])
    state, sums = step_once(model, variables, batch, count=2)
    np.testing.assert_allclose(sums["loss_sum"] / sums["count"], loss, rtol=1e-5)
    for after, before, grad in zip(
        *(jax.tree.leaves(tree) for tree in (state.params, variables["params"], grads)), strict=True
    ):
        np.testing.assert_allclose(after, before - 0.1 * grad, rtol=1e-4, atol=1e-5)
    assert all(np.abs(grad).max() > 0 for grad in jax.tree.leaves(grads["aux_conv"]))


def test_every_size_that_is_looked_at_has_its_loss(random_variables):
    model = build(
        TINY,
        num_classes=NUM_CLASSES,
        axis_name=None,
        norm="none",
        dropout=0.0,
        input_scales=(0.75, 0.5),
    )
    variables, batch = jax.device_put(random_variables(model)), make_batch()

    @jax.jit
    def compare(images, labels):
        logits, extra = model.apply(variables, images, train=True, mutable=[AUXILIARY])
        scored = (logits, *(aside.logits for [aside] in extra[AUXILIARY].values()))
        return [softmax_cross_entropy(each, labels, ignore_label=VOID) for each in scored]

    losses = compare(batch["images"], batch["labels"])
    assert len(losses) == 4
    _, sums = step_once(model, variables, batch)
    expected = sum(loss_sum / pixels for loss_sum, pixels in losses)
    np.testing.assert_allclose(sums["loss_sum"] / sums["count"], expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("norm", "loss", "counts"),
    [("batch", {}, (1, 2, 4)), ("none", {}, (1, 4)), ("none", EVERY_TERM, (1, 2))],
)
def test_devices_do_not_change_a_step(make_model, random_variables, norm, loss, counts):
    model = make_model(norm=norm)
    variables = random_variables(model)
    results = [
        step_once(model, variables, make_batch(), count=count, loss=loss) for count in counts
    ]
    for other, sums in results[1:]:
        assert sums["count"] == results[0][1]["count"]
        np.testing.assert_allclose(sums["loss_sum"], results[0][1]["loss_sum"], rtol=1e-5)
        # Sums over devices run in another order than sums within one.
        for ours, theirs in zip(
            jax.tree.leaves(results[0][0].variables),
            jax.tree.leaves(other.variables),
            strict=True,
        ):
            np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


def test_step_goes_down_the_gradient_of_the_whole_loss(make_model, random_variables):
    model = make_model(norm="none")
    variables, batch = random_variables(model), make_batch()
    loss = make_loss(num_classes=NUM_CLASSES, ignore_label=VOID, **EVERY_TERM)

    @jax.jit
    @jax.value_and_grad
    def objective(params, images, labels):
        logits = model.apply({"params": params}, images, train=False)  # there is no dropout
        parts, count = loss.sums(logits, labels)
        return loss.total(parts, count) / count

    value, grads = objective(variables["params"], batch["images"], batch["labels"])
    state, sums = step_once(model, variables, batch, count=2, loss=EVERY_TERM)  # sgd(0.1)
    np.testing.assert_allclose(sums["loss_sum"] / sums["count"], value, rtol=1e-5)
    squares = [np.sum(np.square(grad)) for grad in jax.tree.leaves(grads)]
    np.testing.assert_allclose(sums["grad_squares"], squares, rtol=1e-3)
    np.testing.assert_allclose(sums["grad_norm"] ** 2, sums["grad_squares"].sum(), rtol=1e-6)
    jax.tree.map(
        lambda new, old, grad: np.testing.assert_allclose(
            (old - new) / 0.1, grad, rtol=1e-3, atol=1e-4
        ),
        state.params,
        variables["params"],
        grads,
    )


def test_caffe_sum_is_mean_times_pixels_per_image(make_model, random_variables):
    model = make_model()
    variables, batch = random_variables(model), make_batch()
    mean, sums = step_once(model, variables, batch, optimizer=optax.sgd(1e-3))
    pixels_per_image = float(sums["count"]) / len(batch["images"])
    total, _ = step_once(
        model,
        variables,
        batch,
        optimizer=optax.sgd(1e-3 / pixels_per_image),
        loss={"divide_by": "images"},
    )
    for ours, theirs in zip(
        jax.tree.leaves(mean.params), jax.tree.leaves(total.params), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


LOSSES = {
    "weighted pixels": {"class_weights": EVERY_TERM["class_weights"]},
    "images": {"divide_by": "images"},
    "hardest pixels": {"ohem_fraction": 0.4},
    "every term": EVERY_TERM,
}


@pytest.mark.parametrize("loss", LOSSES.values(), ids=list(LOSSES))
def test_parts_make_the_update_of_the_whole_batch(loss, random_variables, monkeypatch):
    monkeypatch.setattr(atrous_head, "AUX_DROPOUT", 0.0)  # parts draw by themselves
    model = build(TINY_WITH_AUX, num_classes=NUM_CLASSES, norm="none", axis_name=parallel.AXIS)
    variables = random_variables(model)
    # The last image has almost no label, the first only in half: means of parts would differ.
    batch = make_batch(num_images=8)
    whole, sums = step_once(model, variables, batch, loss=loss)
    moved = max(
        np.abs(new - old).max()
        for new, old in zip(*map(jax.tree.leaves, (whole.params, variables["params"])), strict=True)
    )
    for iter_size, count in ((4, 1), (2, 2)):
        parts, part_sums = step_once(
            model, variables, batch, loss=loss, iter_size=iter_size, count=count
        )
        assert part_sums["count"] == sums["count"]
        np.testing.assert_allclose(part_sums["loss_sum"], sums["loss_sum"], rtol=2e-6)
        np.testing.assert_allclose(part_sums["grad_norm"], sums["grad_norm"], rtol=1e-5)
        for ours, theirs in zip(*map(jax.tree.leaves, (parts.params, whole.params)), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-6 * max(1, moved))


def test_parts_do_not_change_with_the_devices(make_model, random_variables):
    model = make_model(norm="none")
    variables, batch = random_variables(model), make_batch()
    # Parts of one image on each of 2 devices: parts of a step are images (0, 2) and (1, 3).
    order = [0, 2, 1, 3]
    one, _ = step_once(
        model, variables, {name: array[order] for name, array in batch.items()}, iter_size=2
    )
    two, _ = step_once(model, variables, batch, iter_size=2, count=2)
    for ours, theirs in zip(jax.tree.leaves(one.params), jax.tree.leaves(two.params), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("size", "grid", "pixels"),
    [
        (306, LabelGrid(start=1, stride=8), range(1, 306, 8)),  # DeepLab: 39 of them
        (321, LabelGrid(start=0, stride=8), range(0, 321, 8)),  # LargeFOV: 41
        (5, LabelGrid(), range(5)),
    ],
    ids=str,
)
def test_label_grid_takes_the_labels_under_the_units(size, grid, pixels):
    labels = jnp.arange(size)[None, :, None] * 1000 + jnp.arange(size)[None, None]
    pixels = np.array(pixels)
    sampled = grid.sample(labels, (len(pixels), len(pixels)), ignore_label=-1)
    np.testing.assert_array_equal(sampled[0], pixels[:, None] * 1000 + pixels)


def test_label_grid_is_void_beyond_the_image():
    labels = jnp.zeros((1, 9, 12), jnp.int32)
    sampled = LabelGrid(start=0, stride=8).sample(labels, (2, 3), ignore_label=255)
    np.testing.assert_array_equal(sampled, [[[0, 0, 255], [0, 0, 255]]])


def test_shard_map_makes_the_bits_of_pmap(make_model, random_variables):
    model = make_model(dropout=0.5)  # with batch norm
    variables, batch = random_variables(model), make_batch()
    ends = [
        step_once(model, variables, batch, count=2, form=form, loss=EVERY_TERM)
        for form in ("pmap", "shard_map")
    ]
    jax.tree.map(np.testing.assert_array_equal, *ends)


def test_gradients_can_be_added_in_bfloat16(make_model, random_variables):
    model = make_model(norm="none")
    variables, batch = random_variables(model), make_batch()
    moves = []
    for dtype in ("float32", "bfloat16"):
        state, _ = step_once(model, variables, batch, count=2, reduce_dtype=dtype)
        assert all(leaf.dtype == np.float32 for leaf in jax.tree.leaves(state.params))
        moves.append(jax.tree.map(np.subtract, state.params, jax.device_get(variables["params"])))
    wide, narrow = map(jax.tree.leaves, moves)
    # Eight bits of each device's gradient, and of the sum; what cancels out keeps fewer.
    for ours, theirs in zip(narrow, wide, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=2**-6 * np.abs(theirs).max())
    assert any((ours != theirs).any() for ours, theirs in zip(narrow, wide, strict=True))
