"""Fully convolutional networks (FCN-32s/16s/8s) and DeepLab-style networks in JAX and Flax.

Two statements segment a photo with what was trained; nothing is imported before it is used:

    net = fcn_jax.load("runs/camvid_fcn8s", step="best")
    pred = net.predict("photo.jpg")
"""

import importlib

__version__ = "0.1.0"

# Where each public name is defined.
_MODULES = {
    "LabelSet": "fcn_jax.data.labels",
    "Trained": "fcn_jax.train.trained",
    "load": "fcn_jax.train.trained",
    "make": "fcn_jax.train.warm_start",
}


def __getattr__(name: str):
    if name not in _MODULES:
        raise AttributeError(f"module 'fcn_jax' has no attribute {name!r}; it has {__dir__()}")
    return getattr(importlib.import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted(["__version__", *_MODULES])
