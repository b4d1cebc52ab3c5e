"""Streaming analysis of a speaker's emotions in face and voice."""

import os
from importlib.metadata import PackageNotFoundError, version

# ONNX Runtime would tell its maker of each start, and keep a number of the device in the home: it
# reads this when it is loaded. Nothing that is analysed here may be known elsewhere.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

try:
    __version__ = version("streamer")
except PackageNotFoundError:  # run from a checkout that was never installed
    __version__ = "0+unknown"
