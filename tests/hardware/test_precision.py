"""Which precision "auto" takes on which machine."""

import keras
import pytest
import tensorflow as tf

from vicreg_keras.hardware import cpu, precision


@pytest.fixture
def machine(monkeypatch):
    """A function that puts a GPU or a CPU in the place of this machine's."""

    def describe(capability=None, bfloat16=False, details=None):
        gpus = [] if capability is None and details is None else ["GPU:0", "GPU:1"]
        details = {"compute_capability": capability} if details is None else details

        def get_device_details(gpu):
            assert gpu == "GPU:0"
            return details

        monkeypatch.setattr(
            tf.config,
            "list_physical_devices",
            lambda kind: gpus if kind == "GPU" else ["CPU:0"],
        )
        monkeypatch.setattr(
            tf.config.experimental, "get_device_details", get_device_details
        )
        monkeypatch.setattr(cpu, "has_bfloat16", lambda: bfloat16)

    return describe


@pytest.mark.parametrize(
    ("capability", "name"),
    [
        ((9, 0), "bfloat16"),
        ((8, 0), "bfloat16"),
        ((7, 5), "float16"),
        ((7, 0), "float16"),
        ((6, 1), "float32"),
    ],
)
def test_auto_precision_depends_on_gpu_capability(machine, capability, name):
    # What the CPU beside it can do does not matter.
    machine(capability, bfloat16=name != "bfloat16")
    assert precision.choose_precision("auto") == name


def test_auto_precision_of_an_unknown_gpu_is_float32(machine):
    machine(details={})
    assert precision.choose_precision("auto") == "float32"


@pytest.mark.parametrize(("bfloat16", "name"), [(True, "bfloat16"), (False, "float32")])
def test_auto_precision_depends_on_cpu_instructions(machine, bfloat16, name):
    machine(bfloat16=bfloat16)
    assert precision.choose_precision("auto") == name


@pytest.mark.parametrize("name", sorted(precision.POLICIES))
def test_named_precision_is_used(machine, name):
    machine((6, 1))
    assert precision.choose_precision(name) == name
    policy = keras.dtype_policies.get(precision.POLICIES[name])
    assert policy.compute_dtype == name
    assert policy.variable_dtype == "float32"
