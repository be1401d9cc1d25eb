"""The form in which data sets hand out their pairs, and in which batches take them."""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class Source(Protocol):
    """Random access to pairs: {"id": str, "image": uint8 [h, w, 3], "label": uint8 [h, w]}."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Mapping[str, Any]: ...
