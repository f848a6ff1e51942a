"""What is read of a CPU's instructions."""

import pytest

from vicreg_keras.hardware import cpu


@pytest.fixture
def cpuinfo(monkeypatch, tmp_path):
    """A function that puts a text, or none, in the place of /proc/cpuinfo."""

    def describe(text):
        path = tmp_path / "cpuinfo"
        if text is not None:
            path.write_text(text)

        def open_cpuinfo(name):
            assert name == "/proc/cpuinfo"
            return open(path)

        monkeypatch.setattr(cpu, "open", open_cpuinfo, raising=False)

    cpu.flags.cache_clear()
    yield describe
    cpu.flags.cache_clear()


@pytest.mark.parametrize(
    ("flags", "bfloat16", "amx"),
    [
        ("avx512f avx512_bf16 avx512_vnni", True, False),
        ("amx_tile amx_bf16 amx_int8", True, True),
        ("amx_tile amx_int8", False, False),
        ("avx2 avx512f avx512_vnni", False, False),
        ("not_avx512_bf16 avx512_bf16x", False, False),
    ],
)
def test_instruction_sets_are_read(cpuinfo, flags, bfloat16, amx):
    cpuinfo(f"processor\t: 0\nflags\t\t: fpu vme {flags} sse2\nbugs\t\t: amx_bf16\n")
    assert (cpu.has_bfloat16(), cpu.has_amx()) == (bfloat16, amx)


@pytest.mark.parametrize("text", [None, "", "processor: 0\nFeatures: asimd bf16\n"])
def test_unknown_machine_has_no_instruction_sets(cpuinfo, text):
    cpuinfo(text)
    assert not cpu.has_bfloat16() and not cpu.has_amx()
