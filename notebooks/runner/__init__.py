"""Running notebooks from the command line: plan, execute, one HTML page each. See ``notebooks/run.py``."""
