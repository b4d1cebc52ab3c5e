"""Streaming analysis of a speaker's emotions in face and voice."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("streamer")
except PackageNotFoundError:  # run from a checkout that was never installed
    __version__ = "0+unknown"
