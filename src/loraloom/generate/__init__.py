"""Pictures from a base model and adapters: the very pipeline that users run."""
