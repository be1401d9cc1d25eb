"""The folder of one run: what was asked for, what happened, and every number it produced.

config.json               the resolved experiment
run.json                  what the run is (experiment, classes, colours, data) and every launch of
                          it: command line, git commit, versions, devices, time
metrics.jsonl             one JSON object a line: training and evaluation as they went
eval/<split>-<step>.json  confusion counts and the scores that follow from them
eval/<split>-<step>.npz   the counts of each image; see `image_counts`
eval/<split>-<step>.*     the same of several views, or of the CRF: `val-1480.flip=True.json`
eval/<split>-<step>.csv   the scores of each image, where `evaluate` made the evaluation
eval/<split>-<step>.png   its confusion matrix as a picture, likewise
failure.json              the step that ended the run, since it was not finite; see `failure`
profile/                  traces of jax's profiler, where they were asked for
tensorboard/              curves and pictures for TensorBoard, where they were asked for
samples/<split>/          some images, spread over the split, their labels and their predictions
checkpoints/
lock                      who trains in it now; see `lock`

No other file knows these names, but for `samples`, `checkpoint` and `lock`, which have the last
three.
"""

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fcn_jax.atomic_file import LEFTOVER, local_path, replacing
from fcn_jax.data.labels import LabelSet
from fcn_jax.errors import MissingError, UserError
from fcn_jax.train.conditions import list_conditions, refuse_other, warn_of_changes
from fcn_jax.train.failure import Failure
from fcn_jax.train.image_counts import ImageCounts, read_image_counts
from fcn_jax.train.json_file import check, check_keys, damaged, finite, parse, read_json, write_json
from fcn_jax.train.lock import LOCK_FILE
from fcn_jax.train.samples import Samples
from fcn_jax.train.sections import PATHS, resolve
from fcn_jax.train.surroundings import describe

if TYPE_CHECKING:  # reports read run folders without importing jax
    from fcn_jax.train.tally import Prediction


class RunFolder:
    """Reads and writes the small files of a run; `checkpoint.Checkpoints` has the large ones.

    Reading raises MissingError where a file is missing, and UserError where it is damaged.

    Raises:
        UserError: If the path is an address such as gs://bucket/run.
    """

    def __init__(self, path: str | Path):
        self.path = local_path(path)

    @property
    def checkpoints_path(self) -> Path:
        """The folder of the run's checkpoints."""
        return self.path / "checkpoints"

    @property
    def profile_path(self) -> Path:
        """The folder of the traces of jax's profiler."""
        return self.path / "profile"

    @property
    def tensorboard_path(self) -> Path:
        """The folder of the event files for TensorBoard."""
        return self.path / "tensorboard"

    @property
    def samples(self) -> Samples:
        """The pictures of some images, their labels and their predictions."""
        return Samples(self.path / "samples")

    def open(self, config: Mapping[str, Any], *, has_steps: bool) -> None:
        """Claims the folder for a resolved config, or finds that it is already this config's.

        Args:
            config: Resolved sections of the experiment, and its seed.
            has_steps: Whether the folder has a checkpoint. One without a checkpoint and without
                a line in its log, of a launch that failed early, is free for any config.

        Raises:
            UserError: If the folder belongs to another config, or holds something else.
        """
        config_file = self.path / "config.json"
        if self.path.exists() and not self.path.is_dir():
            raise UserError(f"{self.path} is a file; choose another --workdir")
        if not config_file.exists():
            if self.path.is_dir() and any(
                path.suffix != LEFTOVER and path.name != LOCK_FILE for path in self.path.iterdir()
            ):
                raise UserError(
                    f"{self.path} is not empty and is no run folder; choose another --workdir"
                )
            self.path.mkdir(parents=True, exist_ok=True)
            write_json(config_file, config)
            return
        log = self.path / "metrics.jsonl"
        if not has_steps and not (log.exists() and log.stat().st_size):
            write_json(config_file, config)
            return
        kept = resolve(self.read_config(), where=str(self.path / "config.json"))
        refuse_other(self.path, kept, config)

    @property
    def holds_run(self) -> bool:
        """Whether a run has claimed the folder."""
        return (self.path / "config.json").exists()

    def write_config(self, config: Mapping[str, Any]) -> None:
        """Writes the config that the run goes on with: what is neutral in it may be new."""
        write_json(self.path / "config.json", config)

    def read_config(self) -> dict[str, Any]:
        """Returns the experiment as config.json has it; an old one may lack newer keys.

        Where it is no longer what run.json says of it, a warning says so, once in a process.
        """
        config = self._read("config.json")
        if (self.path / "run.json").is_file():
            warn_of_changes(self.path / "config.json", self.read_run().get("conditions"), config)
        return config

    def read_conditions(self) -> dict[str, Any]:
        """Returns what the run computes from, {"section.key": value}.

        A key that is newer than the run has its default there.
        """
        return list_conditions(resolve(self.read_config(), where=str(self.path / "config.json")))

    def read_run(self) -> dict[str, Any]:
        """Returns run.json."""
        run = self._read("run.json")
        check_keys(run, {"launches": list}, where=self.path / "run.json")
        return run

    def read_labels(self) -> LabelSet:
        """Returns the classes of the run, without its data set.

        An old run.json has none: its evaluations name them, and VOC's colour map colours them.
        """
        if labels := self.find_labels():
            return labels
        raise UserError(
            f"{self.path} does not say which classes it has: its run.json is an old one, and "
            "it has not been evaluated\n"
            f"python launch.py evaluate --workdir={shlex.quote(str(self.path))} notes them, "
            "from the "
            "data set"
        )

    def find_labels(self) -> LabelSet | None:
        """Returns the classes of the run; None if it does not say which."""
        if labels := self.read_run().get("labels"):
            try:
                return LabelSet.from_dict(labels)
            except (ValueError, TypeError, KeyError, OverflowError) as error:
                raise damaged(self.path / "run.json", error) from error
        newest = max(self.list_evals(), key=lambda name: name[1], default=None)
        if newest is None:
            return None
        newest_file = self.eval_file(*newest)
        evaluation = read_json(newest_file)
        check_keys(evaluation, {"class_names": list}, where=newest_file)
        return LabelSet.in_voc_colors(list(map(str, evaluation["class_names"])))

    def read_metrics(self, kind: str) -> list[dict[str, Any]]:
        """Returns the lines of metrics.jsonl of a kind, `train` or `eval`, in order of steps.

        A step that was made twice, before and after a kill, counts as it was made last.
        """
        entries = {}
        for entry, _ in self._read_log():
            if entry["kind"] == kind:
                entries[entry["step"]] = entry
        return [entries[step] for step in sorted(entries)]

    def _read_log(self) -> Iterator[tuple[dict[str, Any], bytes]]:
        """Yields the entries of metrics.jsonl and their lines, less half a line of a kill."""
        file = self.path / "metrics.jsonl"
        lines = file.read_bytes().splitlines(keepends=True) if file.is_file() else []
        for number, line in enumerate(lines, 1):
            try:
                entry = check(parse(line), {"kind": str, "step": int})
            except ValueError as error:
                if number == len(lines):
                    return
                where = f"{file}, line {number}"
                raise UserError(
                    f"{where} is damaged: {error}\nremove the line and give the command again"
                ) from error
            yield entry, line

    def list_evals(self) -> list[tuple[str, int]]:
        """Lists the evaluations that there are, as (split, step)."""
        names = (file.stem.rpartition("-") for file in (self.path / "eval").glob("*.json"))
        return sorted((split, int(step)) for split, _, step in names if step.isdecimal())

    def read_evals(self, split: str) -> dict[int, dict[str, Any]]:
        """Returns the evaluations of a split, {step: report}, in order of steps."""
        steps = [step for name, step in self.list_evals() if name == split]
        return {step: read_json(self.eval_file(split, step)) for step in steps}

    def read_image_counts(self, split: str, step: int) -> ImageCounts | None:
        """Returns what an evaluation counted of each image; None if an older version made it."""
        file = self.eval_file(split, step)
        counts_file = file.with_suffix(".npz")
        return read_image_counts(counts_file, read_json(file)) if counts_file.exists() else None

    def eval_file(self, split: str, step: int) -> Path:
        """Returns where an evaluation is, or would be."""
        return self.path / "eval" / f"{split}-{step}.json"

    def _read(self, name: str) -> dict[str, Any]:
        if not (self.path / name).is_file():
            raise MissingError(
                f"{self.path} is no run folder: it has no {name}\n"
                "python launch.py train --config=... --workdir=... makes one"
            )
        return read_json(self.path / name)

    def begin_launch(
        self,
        command: str,
        *,
        devices: Sequence[str],
        start_step: int,
        config: Mapping[str, Any],
        data_fingerprint: str = "",
        **facts: Any,
    ) -> None:
        """Notes in run.json that a launch starts.

        Args:
            command: Command line of the launch.
            devices: Names of the devices that it runs on.
            start_step: Step of the checkpoint that it starts from; 0 for the beginning.
            config: Resolved config of the launch.
            data_fingerprint: Fingerprint of the data that it trains on; the newest is the run's.
            facts: What describes the run as a whole.
        """
        launches = self.read_run()["launches"] if (self.path / "run.json").exists() else []
        launch = {
            "command": command,
            **describe(devices),
            "start_step": start_step,
            "data_fingerprint": data_fingerprint,
        }
        facts = {
            **facts,
            "data_fingerprint": data_fingerprint,
            # Files may move, and no number hangs on where they lie.
            "conditions": {
                key: value for key, value in list_conditions(config).items() if key not in PATHS
            },
        }
        write_json(self.path / "run.json", {**facts, "launches": [*launches, launch]})

    def end_launch(self, **facts: Any) -> None:
        """Completes the newest launch in run.json."""
        run = self.read_run()
        run["launches"][-1].update(facts)
        write_json(self.path / "run.json", run)

    def log(self, **entry: Any) -> None:
        """Appends a line to metrics.jsonl."""
        with (self.path / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(finite(entry)) + "\n")

    @property
    def failure_file(self) -> Path:
        """Where the facts of a step that was not finite are, or would be."""
        return self.path / "failure.json"

    def write_failure(self, failure: Failure) -> None:
        """Notes the step that ends the run."""
        write_json(self.failure_file, failure.to_dict())

    def read_failure(self) -> Failure | None:
        """Returns what `write_failure` noted; None if the run did not end so."""
        if not self.failure_file.exists():
            return None
        try:
            return Failure.from_dict(read_json(self.failure_file))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise damaged(self.failure_file, error) from error

    def remove_failure(self, *, up_to: float) -> None:
        """Removes it if it is of a step up to this one, which a later launch got past."""
        try:
            failure = self.read_failure()
        except UserError:  # damaged: it says nothing to anyone
            failure = None
        if failure is None or failure.step <= up_to:
            self.failure_file.unlink(missing_ok=True)

    def rewind_log(self, step: int, *, is_scored: bool) -> None:
        """Drops the lines after `step`: a resumed run will write them again.

        Args:
            step: Step that the run goes on from.
            is_scored: Whether the evaluation of this step, if it is due, is complete.
        """
        kept = [
            line
            for entry, line in self._read_log()
            if entry["step"] < step
            or (entry["step"] == step and (is_scored or entry["kind"] != "eval"))
        ]
        file = self.path / "metrics.jsonl"
        if file.exists():
            with replacing(file) as beside:
                beside.write_bytes(b"".join(kept))

    def write_eval(
        self,
        report: Mapping[str, Any],
        samples: "Sequence[Prediction]",
        *,
        images: ImageCounts,
        colors: np.ndarray,
    ) -> Path:
        """Writes an evaluation: its pictures, the counts of each image, and last its JSON file.

        Args:
            report: What `Evaluator.make_report` says. Where it also says `how` the network was used
                otherwise, the file is called after that, and there are no pictures.
            samples: Images with their labels and predictions.
            images: Counts of each image.
            colors: RGB of the classes, `[k, 3]`.

        Returns:
            The JSON file.
        """
        split, step, how = report["split"], report["step"], report.get("how", ())
        for sample in () if how else samples:
            self.samples.save(sample, split=split, step=step, colors=colors)
        file = self.eval_file(split, step)
        if how:
            file = file.with_name(f"{file.stem}.{'+'.join(how).replace(' ', '_')}.json")
        file.parent.mkdir(parents=True, exist_ok=True)
        images.save(file.with_suffix(".npz"))
        write_json(file, finite(report))
        return file
