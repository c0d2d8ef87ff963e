"""Tests of the engine that run by torch and, where they are built, by the compiled kernels."""

from collections.abc import Iterator

import pytest

from hybridq.engine import choice
from hybridq.native import kernels


@pytest.fixture(scope="module", params=["torch", "native"])
def engine_in_use(request: pytest.FixtureRequest) -> Iterator[str]:
    """The engine that "auto" means in this module's tests."""
    if request.param == "native" and kernels() is None:
        pytest.skip("no native kernels here")
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "torch":
            patch.setattr(choice, "kernels", lambda: None)
        yield request.param


@pytest.fixture
def only_torch(engine_in_use: str) -> None:
    """Skip a test that concerns the torch engine alone."""
    if engine_in_use != "torch":
        pytest.skip("of the torch engine")
