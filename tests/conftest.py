"""What holds for all tests."""

import os

from hypothesis import settings

if "PYTEST_XDIST_WORKER" in os.environ:  # before torch is imported: one thread for each worker
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# That a machine is busy with something else is no fault of the code.
settings.register_profile("loraloom", deadline=None)
settings.load_profile("loraloom")
