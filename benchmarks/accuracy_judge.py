"""The judge of `benchmarks.accuracy`: a process of its own.

    python -m benchmarks.accuracy_judge WORKDIR

Says, each as a line of JSON, test accuracies of a run's encoder as soon as the linear
probe knows them, then those by kNN and of the untrained encoder.
"""

import json
import sys

from vicreg_keras import load_dataset, load_encoder
from vicreg_keras.evaluate.features import extract_features
from vicreg_keras.evaluate.knn import knn_eval
from vicreg_keras.evaluate.linear_probe import cached_probe
from vicreg_keras.settings import Settings
from vicreg_keras.training.pretrain import build_encoder
from vicreg_keras.workdir.run_folder import RunFolder


def main():
    (folder,) = sys.argv[1:]
    flags = RunFolder(folder).read_settings()
    dataset = dataset_of(flags)
    number = dataset.num_classes
    parts = (dataset.train, dataset.validation, dataset.test)
    splits = features_of(load_encoder(folder), parts)
    say({"linear": cached_probe(*splits, num_classes=number)["top1"]})
    settings = Settings(
        encoder=flags["encoder"],
        stem=flags["stem"],
        mlp=flags["mlp"],
        seed=int(flags["seed"]),
    )
    untrained = features_of(build_encoder(settings, dataset), parts)
    say(
        {
            "knn": knn_eval(*splits, num_classes=number)["top1"],
            "untrained": cached_probe(*untrained, num_classes=number)["top1"],
        }
    )


def dataset_of(flags):
    """The dataset that a run's flags name."""
    return load_dataset(
        flags["dataset"],
        data_dir=flags.get("data_dir") or None,
        image_size=int(flags["image_size"]) if flags.get("image_size") else None,
        validation_fraction=float(flags["validation_fraction"]),
        seed=int(flags["seed"]),
    )


def features_of(encoder, parts):
    """Representations of the parts, in the order that judges take them."""
    return [extract_features(encoder, part, verbose=0) for part in parts]


def say(numbers):
    print(json.dumps(numbers), flush=True)


if __name__ == "__main__":
    main()
