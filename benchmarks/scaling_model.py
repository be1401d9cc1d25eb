"""Prints the tables of docs/scaling.md: what a training step costs on paper on many devices.

python -m benchmarks.scaling_model

Parameters and multiply-adds are those of the networks. Speeds of devices and links are assumptions,
which stand here and in the document; replace them by your own.
"""

import math
from typing import NamedTuple

import jax

from fcn_jax.models.layer_table import layer_table
from fcn_jax.models.zoo import get_model
from fcn_jax.train.state import init_variables, make_key

NUM_CLASSES = 21
DEVICES = (1, 8, 64, 256, 1024)
DEVICES_PER_NODE = 8
# A GPU of today in bfloat16, well below its peak; depthwise convolutions wait for its memory.
FULL, DEPTHWISE = 100e12, 5e12  # operations a second
# Bytes a second that a device sends: NVLink of an H100 (half of 900 GB/s), and one InfiniBand port
# of 400 Gb/s a device.
NVLINK, INFINIBAND = 450e9, 50e9
HOP_S = 5e-6  # of a message, once


class Case(NamedTuple):
    """A recipe: its network, its crops, the images that a device gets, operations a second."""

    network: str
    options: dict
    crop: int
    images: int
    rate: float


CASES = (
    Case("vgg16_fcn8s", {}, 500, 4, FULL),
    Case("vgg16_deeplab_largefov", {}, 321, 8, FULL),
    Case("resnet101_deeplabv3", {"norm": "batch"}, 513, 4, FULL),
    Case("mobilenetv2_fcn8s", {"norm": "batch"}, 321, 16, DEPTHWISE),
)


class Cost(NamedTuple):
    """What a case costs.

    Attributes:
        num_params: Trained numbers.
        num_norms: Batch norms whose statistics are summed over the devices.
        compute_s: Seconds of a step on one device.
    """

    num_params: int
    num_norms: int
    compute_s: float

    def all_reduce_s(self, num_devices: int, *, itemsize: int = 4) -> float:
        """Seconds of summing the gradients: rings in each node, then between nodes."""
        size = self.num_params * itemsize
        local = min(num_devices, DEVICES_PER_NODE)
        nodes = num_devices // local
        inside = 2 * (local - 1) / local * size / NVLINK
        between = 2 * (nodes - 1) / nodes * (size / local) / INFINIBAND
        return inside + between + 2 * HOP_S * math.log2(num_devices)

    def norms_s(self, num_devices: int) -> float:
        """Seconds of the sums of batch norm: small, one after the other, forward and backward."""
        return 2 * self.num_norms * 2 * HOP_S * math.log2(num_devices)


def find_cost(case: Case) -> Cost:
    model = get_model(case.network, num_classes=NUM_CLASSES, **case.options)
    rows = layer_table(model, height=case.crop, width=case.crop, train=True)
    shapes = jax.eval_shape(lambda: init_variables(make_key(0), model))
    macs = sum(row.multiply_adds for row in rows)
    # Two operations a multiply-add; the gradient costs twice the forward pass.
    return Cost(
        num_params=sum(leaf.size for leaf in jax.tree.leaves(shapes["params"])),
        num_norms=len(jax.tree.leaves(shapes.get("batch_stats", {}))) // 2,
        compute_s=3 * 2 * macs * case.images / case.rate,
    )


def main() -> None:
    costs = [(case, find_cost(case)) for case in CASES]
    print("| network, crop, images a device | parameters | gradients, MB | step on 1 device, ms |")
    print("|---|---|---|---|")
    for case, cost in costs:
        print(
            f"| {case.network}, {case.crop}, {case.images} | {cost.num_params:,} | "
            f"{cost.num_params * 4 / 1e6:.0f} | {1e3 * cost.compute_s:.0f} |"
        )
    print()
    print("| network | " + " | ".join(f"{n:,} devices" for n in DEVICES[1:]) + " |")
    print("|---|" + "---|" * len(DEVICES[1:]))
    for case, cost in costs:
        cells = []
        for n in DEVICES[1:]:
            wide, norms = cost.all_reduce_s(n), cost.norms_s(n)
            alone = cost.compute_s + norms
            hidden = max(alone, wide + cost.compute_s / 3 + norms)
            worst, best = (cost.compute_s / s for s in (alone + wide, hidden))
            cells.append(f"{1e3 * wide:.1f} + {1e3 * norms:.1f} ms; {worst:.0%} to {best:.0%}")
        print(f"| {case.network} | " + " | ".join(cells) + " |")
    print()
    print(
        "| network | " + " | ".join(f"{n:,}" for n in DEVICES) + " | images/s a host of 8 reads |"
    )
    print("|---|" + "---|" * (len(DEVICES) + 1))
    for case, cost in costs:
        batches = " | ".join(f"{n * case.images:,}" for n in DEVICES)
        rate = DEVICES_PER_NODE * case.images / cost.compute_s
        print(f"| {case.network} | {batches} | {rate:,.0f} |")


if __name__ == "__main__":
    main()
