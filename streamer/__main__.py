"""`streamer`, and `python -m streamer`."""

import gc

from streamer import cli


def main() -> None:
    """Run the program."""
    try:
        cli.main()
    finally:
        # What is left goes with the process: to look for garbage in it takes a tenth of a second.
        gc.freeze()


if __name__ == "__main__":
    main()
