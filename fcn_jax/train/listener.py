"""What a tracker of experiments hears of a run."""

from collections.abc import Mapping, Sequence
from typing import Any

from fcn_jax.data.labels import LabelSet
from fcn_jax.train.tally import Prediction


class Listener:
    """Hears what a run notes, after the run has noted it; a tracker overrides what it needs.

    What it raises ends the run. A run that goes on may repeat steps after its last checkpoint.
    """

    def on_log(self, step: int, values: Mapping[str, float]) -> None:
        """Hears a line of metrics.jsonl.

        Args:
            step: Last step that the line is of.
            values: `loss`, `grad_norm`, `images_per_s` and `learning_rate`.
        """

    def on_eval(
        self, report: Mapping[str, Any], samples: Sequence[Prediction], labels: LabelSet
    ) -> None:
        """Hears an evaluation.

        Args:
            report: What `Evaluator.make_report` says: `split`, `step`, all scores and the counts.
            samples: Images with their labels and predictions.
            labels: Classes of both.
        """
