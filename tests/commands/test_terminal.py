"""Tables on a terminal: nothing is cut off, however narrow it is."""

import pytest
from rich.table import Table

from fcn_jax.reports.terminal import print_table

NUMBERS = ("0.1234", "12 x 345", "1,234,567")
NAMES = ("road", "traffic sign", "[bold]a very long name of a class[/bold]")


def printed(capsys, monkeypatch, *, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    table = Table()
    table.add_column("class")
    for number in range(3):
        table.add_column(f"height x width {number}", no_wrap=True)
    for name in NAMES:
        table.add_row(name, *NUMBERS)
    print_table(table)
    return capsys.readouterr().out


@pytest.mark.parametrize("columns", [20, 80, 100, 200])
def test_every_cell_is_whole(capsys, monkeypatch, columns):
    text = printed(capsys, monkeypatch, columns=columns)
    for number in NUMBERS:
        assert text.count(number) == len(NAMES)
    for number in range(3):
        assert f"height x width {number}" in text
    for name in NAMES:
        assert all(word in text for word in name.split())


def test_names_wrap_rather_than_lines(capsys, monkeypatch):
    text = printed(capsys, monkeypatch, columns=80)
    assert max(map(len, text.splitlines())) <= 80
    assert NAMES[2] not in text
