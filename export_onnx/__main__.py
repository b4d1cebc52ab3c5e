"""Entry point of `python -m export_onnx`."""

from export_onnx.cli import main

main()
