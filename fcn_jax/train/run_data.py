"""The data of a run: found again, and held against what the run noted of them.

A run notes its classes and the fingerprint of its data. Other classes are another task, and always
refused; other data of the same classes are the user's decision.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np

from fcn_jax.atomic_file import local_path
from fcn_jax.data.datasets import Dataset, get_dataset
from fcn_jax.errors import MissingError, UserError
from fcn_jax.train.run_folder import RunFolder


class RunData:
    """Opens the data of a run.

    Args:
        run: Folder of a run that has been launched.
        say: Is told what a user has to know.
    """

    def __init__(self, run: RunFolder, *, say: Callable[[str], Any]):
        self._run, self._say = run, say
        info = run.read_run()
        self._fingerprint = str(info.get("data_fingerprint") or "")
        self._labels, self._num_classes = run.find_labels(), info.get("num_classes")
        self._has_colors = bool(info.get("labels"))  # an old run says the names alone, if anything

    def open(self, **section: Any) -> Dataset:
        """Returns the data set of a section `data`, in the colours of the run.

        Where the files are gone, or it is not said where they are, the build that the run was
        trained on takes their place.

        Raises:
            MissingError: If there is neither.
            UserError: If the classes are others.
        """
        dataset = self._find(section)
        self._check_classes(dataset)
        return self._in_own_colors(dataset)

    def resume(self, *, splits: Collection[str], accept: bool, **section: Any) -> Dataset:
        """Opens the data to train on.

        Args:
            splits: Splits that the run reads.
            accept: Whether other data of the same classes may be trained on.
            section: Keys of section `data`.

        Raises:
            UserError: If the data are others, and that is not accepted; and as `open` does.
        """
        dataset = self._find(section)
        self._check_classes(dataset)
        ours = self._in_own_colors(dataset)
        if not self._has_changed(dataset):
            return ours
        difference = f"fingerprint {self._fingerprint} then, {dataset.fingerprint} now"
        if accept:
            self._say(
                f"the data of {self._run.path} have changed, which --accept_data accepts: "
                f"{difference}"
            )
            return ours
        # Colours are part of what is fingerprinted, since they may be what labels are read by.
        kept = self._find_kept(section) if ours is not dataset else None
        if kept and {*splits} <= {*kept.splits} and has_same_pairs(dataset, kept, splits):
            return kept
        raise UserError(
            f"the data of {self._run.path} have changed: {difference}\nrestore the files, or go "
            "on with the new ones by --accept_data, or train in another --workdir"
        )

    def warn_of(self, dataset: Dataset, split: str, section: Mapping[str, Any]) -> None:
        """Says that a split is scored of other data than the run was trained on, if it is so."""
        if not self._has_changed(dataset):
            return
        changed = f"the data of {self._run.path} have changed since it was trained"
        what = f"perhaps those of {split} too"
        with contextlib.suppress(UserError):  # of a build that is damaged, and not needed
            if kept := self._find_kept(section):
                if split in kept.splits and has_same_pairs(dataset, kept, [split]):
                    self._say(f"{changed}; the images and labels of {split} are the same")
                    return
                what = f"those of {split} among them"
        self._say(
            f"warning: {changed}, {what}: fingerprint {self._fingerprint} then, "
            f"{dataset.fingerprint} now"
        )

    def _has_changed(self, dataset: Dataset) -> bool:
        """Says whether a data set is known to be another than that of the run."""
        return bool(self._fingerprint and dataset.fingerprint not in ("", self._fingerprint))

    def _find_kept(self, section: Mapping[str, Any]) -> Dataset | None:
        """Returns the data that the run was trained on, from their build; None if it is gone."""
        if not self._fingerprint:
            return None
        try:
            dataset = get_dataset(**{**section, "source_dir": ""}, fingerprint=self._fingerprint)
        except MissingError:
            return None
        return dataset if dataset.fingerprint == self._fingerprint else None

    def _in_own_colors(self, dataset: Dataset) -> Dataset:
        if not self._has_colors or dataset.labels == self._labels:
            return dataset
        self._say(f"the colours of the classes have changed; {self._run.path} keeps its own")
        return dataclasses.replace(dataset, labels=self._labels)

    def _find(self, section: Mapping[str, Any]) -> Dataset:
        source_dir = section.get("source_dir", "")
        if not source_dir:
            return self._find_kept(section) or get_dataset(**section)
        try:
            return get_dataset(**section)
        except MissingError as error:
            folder = local_path(source_dir)
            if kept := self._find_kept(section):
                why = str(error).splitlines()[0].removesuffix("; expected")
                why = why if folder.is_dir() else f"{source_dir} is gone"
                self._say(f"{why}: what was built of it is read instead ({kept.fingerprint})")
                return kept
            if folder.is_dir():
                raise
            there = folder.absolute()
            looked = there if str(there) == source_dir else f"{source_dir} (looked for {there})"
            built = f", and no complete build {self._fingerprint} of it" * bool(self._fingerprint)
            raise MissingError(
                f"the data of {self._run.path} are gone: there is no {looked}{built}\n"
                "say where they are now: --config.data.source_dir=FOLDER"
            ) from error

    def _check_classes(self, dataset: Dataset) -> None:
        here = f"the data ({dataset.name})"
        if self._labels:
            difference = find_difference(
                self._labels.names, dataset.labels.names, there=str(self._run.path), here=here
            )
        else:
            theirs, ours = self._num_classes, dataset.labels.num_classes
            difference = ""
            if theirs not in (None, ours):
                difference = f"{self._run.path} has {theirs} classes and {here} have {ours}"
        if difference:
            raise UserError(
                f"{difference}: a run keeps its classes and their order\n"
                "restore them (the lines of classes.txt, data.classes), say where its data are "
                "(--config.data.source_dir=FOLDER), or train in another --workdir"
            )


def find_difference(theirs: Sequence[str], ours: Sequence[str], *, there: str, here: str) -> str:
    """Says where two lists of class names first differ, in words; '' if they are the same."""
    for number in range(max(len(theirs), len(ours))):
        names = [repr(names[number]) if number < len(names) else "none" for names in (theirs, ours)]
        if names[0] != names[1]:
            return f"class {number} is {names[0]} in {there} and {names[1]} in {here}"
    return ""


def has_same_pairs(first: Dataset, second: Dataset, splits: Collection[str]) -> bool:
    """Says whether two data sets hold the same images and labels in these splits; reads them."""
    for split in splits:
        pairs = first.source(split), second.source(split)
        if len(pairs[0]) != len(pairs[1]):
            return False
        for index in range(len(pairs[0])):
            a, b = (source[index] for source in pairs)
            if a["id"] != b["id"] or any(
                not np.array_equal(a[key], b[key]) for key in ("image", "label")
            ):
                return False
    return True
