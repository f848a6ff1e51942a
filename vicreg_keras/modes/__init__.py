"""The values of `--mode`: what each needs and which options it has.

The module `vicreg_keras.modes.NAME` has the function `run`. A mode that needs a

- recipe is called as `run(settings, data, run_folder, options)` and returns an exit
  status;
- encoder is called as `run(context, options)` and returns the record that it logged;
- runs is called as `run(options)`.
"""

import dataclasses
from collections.abc import Iterable, Iterator

from vicreg_keras.modes import options
from vicreg_keras.settings import DataOptions, Settings
from vicreg_keras.settings.options import fields

# Options of the recipe that an evaluation has a use for.
_EVALUATION_SETTINGS = ("deterministic", "precision", "seed", "strategy")


@dataclasses.dataclass(frozen=True)
class Mode:
    """One value of `--mode`.

    Attributes:
        help: One line for `--help`.
        options: The dataclass of its options.
        needs: `"recipe"`, `"encoder"` or `"runs"`.
        needs_labels: Whether labels that were asked for must be there.
    """

    help: str
    options: type
    needs: str = "encoder"
    needs_labels: bool = True


MODES = {
    "pretrain": Mode(
        "Train an encoder without labels, or continue.",
        options.PretrainOptions,
        "recipe",
    ),
    "linear_eval": Mode("Linear accuracy beside baselines.", options.LinearEvalOptions),
    "knn_eval": Mode("Weighted kNN accuracy beside baselines.", options.KnnEvalOptions),
    "retrieve": Mode(
        "Nearest neighbors by FAISS.", options.RetrieveOptions, needs_labels=False
    ),
    "cluster": Mode(
        "k-means clusters and their map.", options.ClusterOptions, needs_labels=False
    ),
    "spectrum": Mode(
        "Ranks and collapse, without labels.",
        options.SpectrumOptions,
        needs_labels=False,
    ),
    "embed": Mode(
        "Write representations to a file.", options.EmbedOptions, needs_labels=False
    ),
    "finetune": Mode("Train on with few labels.", options.FinetuneOptions),
    "evaluate": Mode("All evaluations and report.html.", options.EvaluateOptions),
    "export": Mode(
        "Write SavedModel, TFLite and ONNX files.",
        options.ExportOptions,
        needs_labels=False,
    ),
    "ablate": Mode("Compare loss weights.", options.AblateOptions, "recipe"),
    "search": Mode("Search recipes by Optuna.", options.SearchOptions, "recipe"),
    "verify": Mode("Compute a run's numbers again.", options.VerifyOptions, "recipe"),
    "report": Mode("Compare runs on one page.", options.ReportOptions, "runs"),
}


def all_options() -> Iterator[type]:
    """Yields every option dataclass, those of the modes last."""
    yield from (options.RunOptions, options.EncoderOptions, DataOptions, Settings)
    yield from (mode.options for mode in MODES.values())


def unused(mode: str, names: Iterable[str]) -> list[str]:
    """Returns the names of the options that a mode has no use for."""
    used = {*fields(options.RunOptions), *fields(MODES[mode].options)}
    if MODES[mode].needs == "encoder":
        used |= {*fields(options.EncoderOptions), *fields(DataOptions)}
        used |= {*_EVALUATION_SETTINGS}
    elif MODES[mode].needs == "recipe":
        used |= {*fields(DataOptions), *fields(Settings)}
    return [name for name in names if name not in used]
