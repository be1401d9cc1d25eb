"""Text files of a user's: UTF-8, or UTF-16 if a byte order mark says so, with any line ends."""

import codecs
import re
from pathlib import Path

from fcn_jax.data.files.problems import OnProblem, Problem


def read_text(file: Path, on_problem: OnProblem, *, kind: str) -> str | None:
    """Returns the text of a file, with lines that end in a newline; None after a problem."""
    data = file.read_bytes()
    utf16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = data.decode("utf-16" if utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        on_problem(Problem(f"{file} is no UTF-8 text ({error}); save it as UTF-8", kind=kind))
        return None
    return re.sub(r"\r\n?", "\n", text)
