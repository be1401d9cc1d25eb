"""Convolution, in the form that is fastest for its shape on the machine that runs it."""
