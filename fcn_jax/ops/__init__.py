"""Arrays and integers in, arrays and integers out: the mathematics that every floor stands on."""
