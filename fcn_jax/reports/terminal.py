"""Tables on a terminal, of which nothing is cut off."""

import sys

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table


def print_table(table: Table) -> None:
    """Prints a table whole, where Rich would cut the cells of a column that does not wrap.

    The other columns wrap as far as words do. Where that is not enough, a row is longer than a line
    of the terminal.
    """
    console = Console(highlight=False, markup=False)
    endless = console.options.update(width=sys.maxsize)
    width = console.measure(table, options=endless).maximum
    for column in table.columns:
        if not column.no_wrap:
            texts = (column.header, *column.cells)
            cells = [Measurement.get(console, endless, text) for text in texts]
            width -= max(cell.maximum for cell in cells) - max(cell.minimum for cell in cells)
    console.width = max(console.width, width)
    console.print(table)
