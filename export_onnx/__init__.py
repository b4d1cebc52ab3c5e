"""Exporters that rebuild the default ONNX models from pinned packages.

Nothing here is needed to run the analyzer: its contract with this package is the manifest beside
each model file (see `export_onnx.manifest`).
"""
