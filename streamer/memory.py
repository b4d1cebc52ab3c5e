"""How the C library keeps memory."""

import ctypes

_M_MMAP_THRESHOLD = -3
LARGE = 256 << 10
"""Bytes from which on memory goes back to the system at once: pictures, not sound or packets."""


def return_pictures() -> bool:
    """Let pictures go back to the system as soon as they are free; False: this C library can't.

    glibc would learn to keep them, in holes between what is small and stays. A live session then
    holds some 30 MB more, which swing by 20, so that nobody can see whether it grows. It costs
    7 % more CPU time (benchmarks/soak.md). Source: mallopt(3).
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # no glibc
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, LARGE) == 1)
