"""Data: label sets, one TFDS builder per data set, paired transforms, loaders.

An image is RGB `uint8 [h, w, 3]`, its label a map of class numbers `uint8 [h, w]` of the same size;
255 is void everywhere. Nothing here uses jax arrays. Import the modules, not this package:
`datasets` for a data set by name, `loader` for batches; the heavy libraries come in with them.
"""
