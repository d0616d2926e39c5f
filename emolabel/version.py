"""The version, in the one place that the wheel, the rows and the command line take it from."""

__version__ = "0.1.0"
