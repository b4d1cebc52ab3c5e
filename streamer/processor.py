"""What the processor can do."""

from typing import Any

import numpy as np


def has_vnni() -> bool:
    """Whether it multiplies int8 and adds up in int32 at once (AVX-512 VNNI), as NumPy found it."""
    shown: Any = np.show_config(mode="dicts")
    found = set(shown["SIMD Extensions"]["found"])
    return bool(found & {"AVX512_CLX", "AVX512_ICL", "AVX512_SPR"})
