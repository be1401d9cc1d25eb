"""Networks run on a few small images: compiling them takes longer than running them."""

import pytest


@pytest.fixture(scope="module", autouse=True)
def compile_every_network_fast(compile_fast):
    """The operators' own tests compile them as well as a user does."""
