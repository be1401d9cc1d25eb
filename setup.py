"""Which folders a wheel holds; everything else is in pyproject.toml.

The experiments lie beside the package, where they are easy to find and to copy, and are installed
inside of it: a top-level package `experiments` would be in everybody's way.
"""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["fcn_jax", "fcn_jax.*"]), "fcn_jax.experiments"],
    package_dir={"fcn_jax.experiments": "experiments"},
)
