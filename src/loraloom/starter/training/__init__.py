"""How the starter base was made: `python -m loraloom.starter.training WORK_FOLDER`."""
