"""Times our networks against the same networks in PyTorch, in alternation, in one process.

    python -m benchmarks.against_torch --case vgg16_fcn8s,500,1 --rounds 7 --output build/benchmarks

Before anything is timed, both get the same weights and must give the same logits to 1e-4.
"""

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import torch
import torch.nn.functional as F

from benchmarks import fcn_jax_networks, torch_networks

NUM_CLASSES = 21
TOLERANCE = 1e-4  # of the largest logit; in bfloat16 there is none that means anything
CASES = (
    "vgg16_fcn32s,500,1",
    "vgg16_fcn8s,500,1",
    "vgg16_fcn8s,500,4",
    "vgg16_deeplab_largefov,321,1",
    "vgg16_deeplab_largefov,321,4",
    "vgg16_deeplab_largefov,513,1",
    "vgg16_deeplab_atrous45,321,1",
    "mobilenetv2_fcn8s,321,1",
    "mobilenetv2_fcn8s,321,4",
    "mobilenetv2_deeplab_largefov,321,1",
    "mobilenetv2_deeplab_largefov,321,4",
)
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


class Case(NamedTuple):
    """What is timed: a network on a batch of square images."""

    network: str
    size: int
    batch: int


def main(argv: list[str]) -> None:
    args = parse(argv)
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.backends.cudnn.benchmark = True
    args.output.mkdir(parents=True, exist_ok=True)
    rows = []
    for case in args.case:
        for row in time_case(case, args):
            rows.append(row)
            print(describe(row), flush=True)
            report = {"machine": describe_machine(args), "rows": rows}
            (args.output / "against_torch.json").write_text(json.dumps(report, indent=1))


def parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--case", action="append", type=to_case, help="NETWORK,SIZE,BATCH")
    parser.add_argument("--kind", action="append", choices=("inference", "train"))
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--rounds", type=int, default=5, help="timed calls of each, in alternation")
    parser.add_argument("--threads", type=int, default=0, help="of torch; 0 leaves its choice")
    parser.add_argument("--compile", action="store_true", help="torch.compile in place of eager")
    parser.add_argument("--output", type=Path, default=Path("build/benchmarks"))
    args = parser.parse_args(argv)
    args.case = args.case or [to_case(case) for case in CASES]
    args.kind = args.kind or ["inference", "train"]
    return args


def to_case(text: str) -> Case:
    network, size, batch = text.split(",")
    if network not in torch_networks.NETWORKS:
        raise argparse.ArgumentTypeError(f"known: {', '.join(torch_networks.NETWORKS)}")
    if not network.startswith("vgg16_fcn") and int(size) % 32 != 1:
        raise argparse.ArgumentTypeError(f"{size}: torch's {network} takes 32 k + 1 pixels, as 321")
    return Case(network, int(size), int(batch))


def time_case(case: Case, args: argparse.Namespace) -> Iterable[dict]:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (case.batch, case.size, case.size, 3), np.uint8)
    labels = rng.integers(0, NUM_CLASSES, (case.batch, case.size, case.size), np.uint8)
    model = fcn_jax_networks.make_model(case.network, num_classes=NUM_CLASSES, dtype=args.dtype)
    variables = fcn_jax_networks.draw_variables(model, seed=0)
    network = torch_networks.NETWORKS[case.network](NUM_CLASSES)
    network = torch_networks.load(network, fcn_jax_networks.flatten(variables)).eval()
    network = network.to(DEVICE, memory_format=torch.channels_last)

    if "inference" in args.kind:
        run, torch_run = (
            fcn_jax_networks.make_inference(model, variables),
            torch_inference(network, args),
        )
        logits, torch_logits = fcn_jax_networks.as_float32(run(images)), torch_run(images)
        difference = float(np.abs(logits - torch_logits).max() / np.abs(logits).max())
        if args.dtype == "float32" and not difference < TOLERANCE:
            raise SystemExit(f"{case}: the logits differ by {difference:.1e} of the largest")
        times = alternate(lambda: run(images), lambda: torch_run(images), args.rounds)
        yield summarize(case, "inference", times, args, difference=difference)
    if "train" in args.kind:
        run, torch_run = (
            fcn_jax_networks.make_training(model, variables),
            torch_training(network, args),
        )
        times = alternate(
            lambda: run(images, labels), lambda: torch_run(images, labels), args.rounds
        )
        yield summarize(case, "train", times, args)


def torch_inference(network, args: argparse.Namespace) -> Callable[[np.ndarray], np.ndarray]:
    forward = torch.compile(network) if args.compile else network

    @torch.inference_mode()
    def run(images: np.ndarray) -> np.ndarray:
        with torch.autocast(DEVICE, torch.bfloat16, enabled=args.dtype == "bfloat16"):
            logits = forward(to_torch(images))
        return logits.float().permute(0, 2, 3, 1).cpu().numpy()

    return run


def torch_training(network, args: argparse.Namespace) -> Callable[[np.ndarray, np.ndarray], None]:
    for module in network.modules():  # batch norm stays as stored
        module.training = not isinstance(module, torch.nn.BatchNorm2d)
    optimizer = torch.optim.SGD(
        [leaf for leaf in network.parameters() if leaf.requires_grad],
        lr=fcn_jax_networks.LEARNING_RATE,
        momentum=fcn_jax_networks.MOMENTUM,
        weight_decay=fcn_jax_networks.WEIGHT_DECAY,
    )
    forward = torch.compile(network) if args.compile else network

    def run(images: np.ndarray, labels: np.ndarray) -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(DEVICE, torch.bfloat16, enabled=args.dtype == "bfloat16"):
            logits = forward(to_torch(images))
        target = torch.from_numpy(labels).to(DEVICE).long()
        loss = F.cross_entropy(logits.float(), target, ignore_index=fcn_jax_networks.IGNORE_LABEL)
        loss.backward()
        optimizer.step()
        loss.item()

    return run


def to_torch(images: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(images).to(DEVICE).permute(0, 3, 1, 2)  # channels last in memory


def alternate(run: Callable, torch_run: Callable, rounds: int) -> dict[str, list[float]]:
    """Calls both for warming up (and compiling), then in turns: twice each, the second is timed.

    The first call takes back from the system the memory that the other's turn made it give away.
    That costs ours up to 2 s (FCN-8s), and no training or evaluation, which goes on calling.
    """
    times = {"first": [], "ours": [], "torch": []}
    for each in (run, torch_run, run, torch_run):
        started = time.perf_counter()
        each()
        times["first"].append(time.perf_counter() - started)
    for _ in range(rounds):
        for name, each in (("ours", run), ("torch", torch_run)):
            each()
            started = time.perf_counter()
            each()
            times[name].append(time.perf_counter() - started)
    return times


def summarize(
    case: Case, kind: str, times: dict[str, list[float]], args: argparse.Namespace, **more
) -> dict:
    ratios = [a / b for a, b in zip(times["ours"], times["torch"], strict=True)]
    return {
        **case._asdict(),
        "kind": kind,
        "dtype": args.dtype,
        "torch": "compile" if args.compile else "eager",
        "ours_s": statistics.median(times["ours"]),
        "torch_s": statistics.median(times["torch"]),
        "ratio": statistics.median(ratios),
        "ratios": [round(ratio, 3) for ratio in sorted(ratios)],
        "first_call_s": {"ours": times["first"][0], "torch": times["first"][1]},
        **more,
    }


def describe(row: dict) -> str:
    return (
        f"{row['network']:30s} {row['size']:4d} x{row['batch']:<3d} "
        f"{row['kind']:9s} {row['dtype']:8s} "
        f"ours {row['ours_s']:.3f} s  torch {row['torch']} {row['torch_s']:.3f} s  "
        f"ratio {row['ratio']:.2f} ({row['ratios'][0]:.2f} to {row['ratios'][-1]:.2f})"
    )


def describe_machine(args: argparse.Namespace) -> dict:
    return {
        "device": jax.devices()[0].device_kind,
        "processor": platform.processor() or platform.machine(),
        "torch_threads": torch.get_num_threads(),
        "jax": jax.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "rounds": args.rounds,
    }


if __name__ == "__main__":
    main(sys.argv[1:])
