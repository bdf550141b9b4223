"""What holds for all tests."""

from hypothesis import settings

# That a machine is busy with something else is no fault of the code.
settings.register_profile("loraloom", deadline=None)
settings.load_profile("loraloom")
