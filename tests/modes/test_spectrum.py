"""Tests of the mode `spectrum`."""

from vicreg_keras.evaluate.records import read_records
from vicreg_keras.evaluate.spectrum import SpectrumRecord
from vicreg_keras.modes import spectrum
from vicreg_keras.modes.context import Context
from vicreg_keras.modes.options import SpectrumOptions


def test_spectrum_needs_no_labels(unlabeled, capsys):
    record = spectrum.run(unlabeled, SpectrumOptions())
    assert "effective rank" in capsys.readouterr().out
    assert record.num_examples == 100
    assert record.diagnoses[0].state in ("healthy", "dimensional collapse")
    assert read_records(unlabeled.run, SpectrumRecord) == [record]
    assert (unlabeled.run.figures / "spectrum.png").exists()


def test_collapse_is_diagnosed(context, encoders, capsys):
    class Constant:
        """The same for every image, but for rounding."""

        variables = encoders[0].variables
        example_shape = (8, 8, 3)

        def __call__(self, images, training=False):
            return 5.0 + 1e-6 * encoders[0](images, training=False)

    collapsed = Context(Constant(), context.dataset, context.run)
    spectrum.run(collapsed, SpectrumOptions())
    text = capsys.readouterr().out
    assert "Full collapse." in text and "variance_weight" in text
