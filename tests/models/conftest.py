"""Networks run on a few small images: compiling them takes longer than running them.

So most of them run with plain convolutions. test_transforms.py compares every kind of network in
the form that a user gets with the plain one, and tests/ops/conv every form.
"""

import pytest


@pytest.fixture(scope="module", autouse=True)
def compile_every_network_fast(compile_fast):
    """The operators' own tests compile them as well as a user does."""
