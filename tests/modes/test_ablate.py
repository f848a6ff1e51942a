"""The ablation: every variant trained once, judged, and seen to differ."""

import dataclasses

import pytest

from vicreg_keras.modes import ablate
from vicreg_keras.settings import Settings
from vicreg_keras.workdir.run_folder import RunFolder

SETTINGS = Settings(
    encoder="tiny",
    projector="16-16",
    views="grayscale",
    optimizer="adam",
    learning_rate=0.02,
    batch_size=100,
    epochs=6,
    warmup_epochs=0.0,
    score_every=0,
)


def test_grid_of_weights():
    assert ablate.parse_grid(["25-50-1"]) == {
        "25-50-1": {
            "invariance_weight": 25.0,
            "variance_weight": 50.0,
            "covariance_weight": 1.0,
        }
    }
    for text in ("25-50", "25-x-1", ""):
        with pytest.raises(ValueError, match="--weights_grid=25-25-1,25-50-1"):
            ablate.parse_grid([text])


def test_without_the_variance_term_all_collapses(digits, tmp_path, capsys):
    run, claimed = RunFolder(tmp_path), []
    variants = {name: ablate.VARIANTS[name] for name in ("full loss", "no variance")}

    def go(variants, num_seeds):
        return ablate.run_ablate(
            SETTINGS,
            digits,
            run,
            claim=lambda part, chosen: claimed.append((part.path.name, chosen)),
            variants=variants,
            num_seeds=num_seeds,
        )

    row = go(variants, 2)
    text = capsys.readouterr().out
    assert run.read_metrics("ablate") == [row]
    assert row["seeds"] == [0, 1]
    results = row["results"]
    assert set(results) == {"full loss", "no variance", "untrained"}
    assert all(len(runs) == 2 for runs in results.values())
    for full, none in zip(results["full loss"], results["no variance"], strict=True):
        assert none["embedding_std"] < 0.3 * full["embedding_std"]
    for name in results:
        assert name in text
    assert (run.figures / "ablation.png").stat().st_size > 5000
    assert [name for name, _ in claimed] == [
        "full_loss-seed0",
        "no_variance-seed0",
        "full_loss-seed1",
        "no_variance-seed1",
    ]
    assert claimed[3][1] == dataclasses.replace(SETTINGS, seed=1, variance_weight=0.0)
    # Again: nothing is trained anew, and the numbers are the same.
    part = RunFolder(tmp_path / "ablate" / "full_loss-seed0")
    rows = part.read_metrics("pretrain")
    again = go({"full loss": {}}, 1)["results"]
    assert again["full loss"] == results["full loss"][:1]
    assert part.read_metrics("pretrain") == rows
