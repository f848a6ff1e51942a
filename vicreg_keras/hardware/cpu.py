"""Instruction sets of this CPU."""

import functools
import re


def has_bfloat16() -> bool:
    """Returns whether it computes in bfloat16 (avx512_bf16, amx_bf16)."""
    return not flags().isdisjoint({"avx512_bf16", "amx_bf16"})


def has_amx() -> bool:
    """Returns whether it multiplies tiles of matrices in bfloat16 (amx_bf16)."""
    return "amx_bf16" in flags()


@functools.cache
def flags() -> frozenset[str]:
    """Returns instruction sets by Linux's names; none on other systems."""
    try:
        with open("/proc/cpuinfo") as file:
            cores = re.findall(r"^flags.*?:(.*)", file.read(), re.MULTILINE)
    except OSError:
        return frozenset()
    return frozenset(" ".join(cores).split())
