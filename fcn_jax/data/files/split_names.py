"""What people call the splits, and the files and folders that hold them."""

import re

REQUIRED_SPLITS = ("train", "val")
SPLITS = (*REQUIRED_SPLITS, "test")

_SPLIT_OF_WORD = {
    **dict.fromkeys(("train", "training", "trn"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "validate", "dev", "devel"), "val"),
    **dict.fromkeys(("test", "testing", "tst"), "test"),
}
# Words that say what a file or folder is, and not which split.
_FILLERS = {
    "annot", "annotation", "annotations", "data", "dataset", "file", "filename", "filenames",
    "files", "id", "ids", "image", "images", "img", "imgs", "index", "label", "labels", "list",
    "lists", "mask", "masks", "name", "names", "pair", "pairs", "set", "sets", "split", "splits",
}  # fmt: skip
_OTHER_WORDS = ("fold", "folds", "holdout", "partition", "partitions", "split", "splits", "subset")


def split_of(name: str) -> str | None:
    """Returns the split that a name means beyond doubt, as 'Train', 'val_list', 'valset' do."""
    words = [word for word in _find_words(name) if word not in _FILLERS]
    return _SPLIT_OF_WORD.get(words[0]) if len(words) == 1 else None


def mentions_split(name: str) -> bool:
    """Says whether a name has to do with splits, as 'train_fold1', 'trainval' and 'splits' do."""
    return any(
        word in _SPLIT_OF_WORD or word in _OTHER_WORDS or word.startswith(("train", "valid"))
        for word in _find_words(name)
    )


def begins_with_split(name: str) -> str | None:
    """Returns the split that the first word of an image's name is called by."""
    words = _find_words(name)
    return _SPLIT_OF_WORD.get(words[0]) if words[1:] or re.search(r"\d", name) else None


def _find_words(name: str) -> list[str]:
    """Splits a name into words, in small letters; numbers do not count if they may be a year."""
    parts = re.findall(r"[^\W\d_]+|\d+", name.casefold())
    words = [part for part in parts if not re.fullmatch(r"(19|20)\d\d", part)]
    return [_strip_ending(word) for word in words] or [""]


def _strip_ending(word: str) -> str:
    """Takes 'set' off 'trainset', and nothing off 'subset'."""
    match = re.fullmatch(r"(.+?)(list|set|split|data)s?", word)
    return match[1] if match and match[1] in _SPLIT_OF_WORD else word
