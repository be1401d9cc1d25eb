"""The data sets: where their files are, what their classes are, and which splits they make."""
