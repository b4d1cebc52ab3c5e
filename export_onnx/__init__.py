"""Exporters that rebuild the default ONNX models from pinned packages.

Nothing here is needed to run the analyzer: its contract with this package is the manifest beside
each model file (see `export_onnx.manifest`).
"""

import os

# Libraries that would tell their makers of each start read these when they are loaded.
os.environ["ORT_DISABLE_TELEMETRY"] = os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
