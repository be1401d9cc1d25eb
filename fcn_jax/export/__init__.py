"""A trained network as one file that others run without this project."""
