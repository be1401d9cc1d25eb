"""The tables of the released networks, blob by blob, against goldens/networks/<net>.json."""

from functools import cache
from math import ceil
from pathlib import Path

import pytest

from fcn_jax.models.layer_table import layer_table
from fcn_jax.models.zoo import get_model
from tests import oracles

# Golden name: (options of get_model, height, width, train).
NETWORKS = {
    "voc_fcn32s": ({"name": "vgg16_fcn32s"}, 500, 500, False),
    "voc_fcn16s": ({"name": "vgg16_fcn16s"}, 500, 500, False),
    "voc_fcn8s": ({"name": "vgg16_fcn8s"}, 500, 500, False),
    "voc_fcn8s_atonce": ({"name": "vgg16_fcn8s_atonce"}, 500, 500, False),
    "voc_fcn_alexnet": ({"name": "alexnet_fcn32s"}, 500, 500, False),
}
# The DeepLab nets by what is released of them: pools, name, and the sizes that train and test.
for _pools, _net, _name, _sizes in [
    ("noup", "basic_noup", "vgg16_deeplab", {306: "_train", 514: "_test"}),
    ("pool3", "basic_pool3", "vgg16_deeplab", {321: "", 513: ""}),
    ("noup", "4x4_noup", "vgg16_deeplab_4x4", {306: "_train"}),
    ("pool3", "4x4_pool3", "vgg16_deeplab_4x4", {321: "", 513: ""}),
    ("noup", "7x7_noup", "vgg16_deeplab_7x7", {306: "_train", 514: "_test"}),
    ("pool3", "7x7_pool3", "vgg16_deeplab_7x7", {321: "", 513: ""}),
    ("pool3", "largefov", "vgg16_deeplab_largefov", {321: "", 513: ""}),
    ("pool3", "msc", "vgg16_deeplab_msc", {321: "_train", 513: "_test"}),
    ("pool3", "msc_largefov", "vgg16_deeplab_msc_largefov", {321: "_train", 513: "_test"}),
    ("pool3", "v2_vgg_aspp_l", "vgg16_deeplab_aspp", {321: "", 513: ""}),
]:
    for _size, _form in _sizes.items():
        NETWORKS[f"deeplab_{_net}_{_size}{_form}"] = (
            {"name": _name, "pools": _pools, "label_shrink": True},
            _size,
            _size,
            _size < 513,
        )

# Rows that the release has no blob for, and why.
BESIDE = {
    net: dict.fromkeys(
        [f"{name}_crop" for name in ("data", "pool1", "pool2", "pool3", "pool4", "fc8")],
        "its sizes are all 8 k + 1, where no map reaches beyond the image",
    )
    for net in NETWORKS
    if "deeplab" in net and not net.endswith("noup_514_test")
}

# What a layer of the release is here. Its frozen bilinear filters and its scales are constants
# here, which have neither parameters nor the cost of a dense kernel.
KINDS = {
    "conv": ("Conv",),
    "pool": ("MaxPool", "AvgPool"),
    "lrn": ("LocalResponseNorm",),
    "scale": ("Scale",),
    "deconv": ("BilinearUpscore", "LearnedUpscore"),
    "interp": ("BilinearUpscore",),
    "crop": ("Crop",),
    "sum": ("Fuse",),
}


@cache
def _golden(net):
    return oracles.load_golden(f"networks/{net}")


@cache
def _rows(net, **more):
    options, height, width, train = NETWORKS[net]
    model = get_model(**options, **more, num_classes=21)
    table = layer_table(model, height=height, width=width, train=train)
    rows = {row.name: row for row in table}
    assert len(rows) == len(table), "two rows of one name"
    return {name: row for name, row in rows.items() if name not in BESIDE.get(net, {})}


def _expected(net, *keys, types=tuple(KINDS)):
    """Gives {name: values of these keys} of the golden layers that have all of them."""
    return {
        layer["name"]: tuple(layer[key] for key in keys)
        for layer in _golden(net)["layers"]
        if layer["type"] in types and all(key in layer for key in keys)
    }


def test_every_golden_network_is_compared():
    folder = Path(oracles.__file__).parent / "goldens" / "networks"
    assert {path.stem for path in folder.glob("*.json")} == set(NETWORKS)
    for net, (_, height, width, _) in NETWORKS.items():
        assert _golden(net)["image"] == [height, width], net


@pytest.mark.parametrize("net", NETWORKS)
def test_blobs_of_released_networks_are_unchanged(net):
    actual = {name: ([row.channels, row.height, row.width],) for name, row in _rows(net).items()}
    assert actual == _expected(net, "out")


@pytest.mark.parametrize("net", NETWORKS)
def test_kinds_of_released_layers_are_unchanged(net):
    rows = _rows(net)
    for name, (kind,) in _expected(net, "type").items():
        assert rows[name].kind in KINDS[kind], name


@pytest.mark.parametrize("net", NETWORKS)
def test_geometry_of_released_networks_is_unchanged(net):
    expected = _expected(net, "field", "stride", "start")
    rows = _rows(net)
    actual = {name: (rows[name].field, rows[name].stride, rows[name].start) for name in expected}
    assert actual == expected


@pytest.mark.parametrize("net", NETWORKS)
def test_crops_of_released_networks_are_unchanged(net):
    crops = {name: row for name, row in _rows(net).items() if row.kind == "Crop"}
    assert {name: (row.layer.offset,) for name, row in crops.items()} == _expected(net, "offset")


@pytest.mark.parametrize("net", BESIDE)
def test_rows_that_the_release_lacks_change_nothing_at_its_sizes(net):
    options, height, width, train = NETWORKS[net]
    rows = layer_table(
        get_model(**options, num_classes=21), height=height, width=width, train=train
    )
    last = _rows(net)[_golden(net)["layers"][-1]["name"]]
    beside = [row for row in rows if row.name in BESIDE[net]]
    assert beside
    for row in beside:
        assert (row.layer.offset, row.height, row.width) == (0, last.height, last.width), row.name


@pytest.mark.parametrize("net", [net for net in NETWORKS if "labels" in _golden(net)])
def test_units_that_are_trained_lie_on_the_released_labels(net):
    options, height, width, train = NETWORKS[net]
    model = get_model(**options, num_classes=21)
    scored = layer_table(model, height=height, width=width, train=train)[-1]
    actual = {"stride": scored.stride, "first": ceil(scored.start), "count": scored.height}
    assert actual == _golden(net)["labels"]


@pytest.mark.parametrize("net", NETWORKS)
def test_parameters_of_released_networks_are_unchanged(net):
    counts = {name: (row.params,) for name, row in _rows(net).items() if row.params}
    assert counts == _expected(net, "params", types=("conv",))
    assert (
        sum(row.params for row in _rows(net).values()) == _golden(net)["params"]["outside_deconv"]
    )


@pytest.mark.parametrize("net", NETWORKS)
def test_released_networks_learn_what_is_not_frozen(net):
    frozen = {layer["name"] for layer in _golden(net)["layers"] if layer.get("frozen")}
    learnable = sum(row.params for name, row in _rows(net).items() if name not in frozen)
    assert learnable == _golden(net)["params"]["learnable"]


@pytest.mark.parametrize("net", NETWORKS)
def test_multiply_adds_of_released_networks_are_unchanged(net):
    convs = [row for row in _rows(net).values() if row.kind == "Conv"]
    assert {row.name: (row.multiply_adds,) for row in convs} == _expected(
        net, "macs", types=("conv",)
    )
    assert sum(row.multiply_adds for row in convs) == _golden(net)["macs"]["conv"]


FCNS = [net for net in NETWORKS if "fcn" in net]


@pytest.mark.parametrize("net", FCNS)
def test_learned_upsampling_is_as_large_as_the_released_filters(net):
    rows, golden = _rows(net, upsampling="learned"), _golden(net)
    learned = [row for row in rows.values() if row.kind == "LearnedUpscore"]
    assert {row.name: (row.params, row.multiply_adds) for row in learned} == _expected(
        net, "params", "macs", types=("deconv",)
    )
    assert sum(row.params for row in learned) == golden["params"]["deconv"]
    assert sum(row.multiply_adds for row in learned) == golden["macs"]["deconv"]
    scales = sum(count for (count,) in _expected(net, "params", types=("scale",)).values())
    assert sum(row.params for row in rows.values()) + scales == golden["params"]["all_blobs"]


# --- other sizes ------------------------------------------------------------------------------

SWEPT = [net for net in FCNS if net != "voc_fcn8s_atonce"]  # as large as voc_fcn8s


@cache
def _rows_at(net, height, width):
    model = get_model(**NETWORKS[net][0], num_classes=21)
    return {row.name: row for row in layer_table(model, height=height, width=width)}


@pytest.mark.parametrize("net", SWEPT)
def test_size_sweep_of_released_networks_is_unchanged(net):
    golden = oracles.load_golden("size_sweep")[net]
    blobs = golden["blobs"][1:]  # without the image
    for (height, *heights), (width, *widths) in zip(
        golden["sizes"][::4], golden["sizes"][::-4], strict=True
    ):
        rows = _rows_at(net, height, width)
        assert [rows[name].height for name in blobs] == heights
        assert [rows[name].width for name in blobs] == widths


@pytest.mark.parametrize("net", SWEPT)
def test_what_released_crops_leave_over_is_unchanged(net):
    sources = {"score_pool4c": "score_pool4", "score_pool3c": "score_pool3"}
    rests = {}
    for height in range(500, 532, 2):  # with the widths, one whole period of the stride
        rows = _rows_at(net, height, height + 1)
        sources["score"] = list(rows)[-2]  # its name depends on the stride
        for name, source in sources.items():
            if name in rows:
                crop, source = rows[name], rows[source]
                rests.setdefault(name, set()).update(
                    [
                        source.height - crop.layer.offset - crop.height,
                        source.width - crop.layer.offset - crop.width,
                    ]
                )
    expected = oracles.load_golden("crop_validity")["trailing_discard_min_max"][net]
    assert {name: [min(rest), max(rest)] for name, rest in rests.items()} == expected
