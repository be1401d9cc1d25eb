"""Fully convolutional networks (FCN-32s/16s/8s) and DeepLab-style networks in JAX and Flax."""

__version__ = "0.1.0"
