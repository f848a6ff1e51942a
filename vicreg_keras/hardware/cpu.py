"""Which instructions does this CPU have?"""

import functools


def has_bfloat16() -> bool:
    """Whether it computes with bfloat16 numbers (avx512_bf16, amx_bf16)."""
    return not flags().isdisjoint({"avx512_bf16", "amx_bf16"})


def has_amx() -> bool:
    """Whether it multiplies tiles of matrices in bfloat16 (amx_bf16)."""
    return "amx_bf16" in flags()


@functools.cache
def flags() -> frozenset[str]:
    """Instruction sets by Linux's names; none on other systems, which do not tell."""
    try:
        with open("/proc/cpuinfo") as file:
            lines = file.read().splitlines()
    except OSError:
        return frozenset()
    return frozenset(
        name
        for line in lines
        if line.startswith("flags")
        for name in line.partition(":")[2].split()
    )
