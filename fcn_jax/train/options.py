"""What an experiment says of a training: section `train`."""

from dataclasses import dataclass
from typing import Literal

from fcn_jax.errors import UserError


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """How a run is trained: section `train`.

    Attributes:
        split: Split of the data set that is trained on.
        num_steps: Updates of the parameters in the whole run.
        batch_size: Images of an update, over all devices and processes.
        iter_size: Parts that a batch is computed in, one after the other, to save memory (Caffe's
            word); the update is that of the whole batch.
        reduce_dtype: Type in which the gradients of the devices are added up. With bfloat16 half as
            many bytes are sent, and the sums are rounded to 8 bits.
        log_every: Steps between two lines of metrics.jsonl; 0 for the last step only.
        eval_every: Steps between two evaluations; 0 for the last step only.
        checkpoint_every: Steps between two checkpoints; 0 for evaluations and the last step only.
    """

    split: str = "train"
    num_steps: int
    batch_size: int
    iter_size: int = 1
    reduce_dtype: Literal["float32", "bfloat16"] = "float32"
    log_every: int = 20
    eval_every: int = 0
    checkpoint_every: int = 0

    def __post_init__(self) -> None:
        if self.num_steps < 1:
            raise UserError(f"train.num_steps={self.num_steps} must be positive")
        for name in ("log_every", "eval_every", "checkpoint_every"):
            if getattr(self, name) < 0:
                raise UserError(f"train.{name}={getattr(self, name)} must not be negative")
