"""What a run computes from: the keys of its experiment, but for those that change no number."""

from collections.abc import Iterator, Mapping
from typing import Any

# Where the data lie, who reads them, and how often to look.
NEUTRAL_KEYS = (
    "data.source_dir",
    "data.data_dir",
    "augment.num_threads",
    "augment.num_workers",
    "train.log_every",
    "train.eval_every",
    "train.checkpoint_every",
    "eval.device_batch_size",
    "eval.num_samples",
)


def list_conditions(config: Mapping[str, Any]) -> dict[str, Any]:
    """Lists the values that count, as {"section.key": value}."""
    return {key: value for key, value in _leaves(config, "") if key not in NEUTRAL_KEYS}


def _leaves(config: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
