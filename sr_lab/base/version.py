"""The version of this code, which is the package's."""

__version__ = "0.2.0"
