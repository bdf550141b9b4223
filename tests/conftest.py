"""What holds for all tests."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

if "PYTEST_XDIST_WORKER" in os.environ:  # before torch is imported: one thread for each worker
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# That a machine is busy with something else is no fault of the code.
settings.register_profile("loraloom", deadline=None)
settings.load_profile("loraloom")


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny Stable Diffusion 1; tests that change files make their own."""
    from tests import tiny

    return tiny.save_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Captioned pictures; tests that change files make their own."""
    from tests import tiny

    return tiny.save_pictures(tmp_path_factory.mktemp("pictures"))
