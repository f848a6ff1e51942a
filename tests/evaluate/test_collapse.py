"""Tests of the diagnosis of collapse on vectors of a known kind."""

import dataclasses
import json

import numpy as np
import pytest

from vicreg_keras.evaluate.collapse import CollapseMetrics, diagnose_collapse
from vicreg_keras.evaluate.records import to_json
from vicreg_keras.evaluate.spectrum import spectrum

KINDS = pytest.mark.parametrize("kind", ["embedding", "representation"])


def gaussian(num_examples, width, seed=0):
    return np.random.default_rng(seed).normal(size=(num_examples, width))


@KINDS
def test_diagnosis_of_healthy_vectors(kind):
    result = diagnose_collapse(spectrum(gaussian(1000, 64) + 0.5), kind=kind)
    assert result.state == "healthy" and "failed" not in result.text
    assert f"The {kind}s vary in about 6" in result.text
    assert "of 64 possible directions" in result.text
    assert "--" not in result.text
    json.dumps(to_json(result), allow_nan=False)


@KINDS
def test_diagnosis_of_few_directions(kind):
    rows = gaussian(1000, 2) @ gaussian(2, 512, seed=1) + 1e-3 * gaussian(1000, 512)
    result = diagnose_collapse(spectrum(rows), kind=kind)
    assert result.state == "dimensional collapse"
    # Without the variance term representations lose directions, too: they can't tell.
    known = kind == "embedding"
    assert ("term failed; raise covariance_weight" in result.text) == known
    assert ("raise covariance_weight" in result.text) == known
    assert ("the variance term" in result.text) != known
    assert "possible directions" in result.text


@KINDS
def test_diagnosis_of_one_point_with_small_noise(kind):
    rows = gaussian(1, 64) + 1e-3 * gaussian(1000, 64, seed=1)
    result = diagnose_collapse(spectrum(rows), kind=kind)
    assert result.state == "full collapse" and "The variance term" in result.text
    assert f"almost the same {kind}" in result.text
    assert "raise variance_weight" in result.text
    json.dumps(to_json(result), allow_nan=False)


@KINDS
@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_diagnosis_of_vectors_that_differ_by_rounding(kind, offset):
    # At a million float32 has steps of 0.06: a spread above the embeddings' threshold.
    rows = (offset + 1e-3 * gaussian(1000, 64)).astype(np.float32)
    rows += np.float32(offset and 0.0625) * (gaussian(1000, 64, seed=1) > 0)
    metrics = spectrum(rows)
    assert (metrics.std_mean > 0.01) is (offset > 0)
    state = diagnose_collapse(metrics, kind=kind).state
    # Small representations around zero are no collapse: they have no scale.
    healthy = kind == "representation" and not offset
    assert state == ("healthy" if healthy else "full collapse")


def test_embeddings_may_be_far_from_zero():
    # The loss does not see the mean.
    metrics = spectrum(gaussian(1000, 64) + 1000)
    assert diagnose_collapse(metrics, kind="embedding").state == "healthy"


@pytest.mark.parametrize("rank", [5, 15])
def test_untrained_encoders_are_healthy(rank):
    # Untrained, 512 wide, an encoder's representations have a rank of 5 to 15.
    rows = gaussian(600, 512) + 20
    rows[:, rank:] *= 0.01
    metrics = spectrum(rows)
    assert metrics.effective_rank == pytest.approx(rank, rel=0.15)
    assert diagnose_collapse(metrics, kind="representation").state == "healthy"


@pytest.mark.parametrize(
    ("kind", "possible", "minimum"),
    [
        ("embedding", 2048, 40.96),
        ("representation", 2048, 10.24),
        ("representation", 512, 2.56),
        ("representation", 64, 2.0),
        ("embedding", 3, 1.5),
        ("embedding", 1, 0.5),
    ],
)
def test_threshold_of_dimensional_collapse(kind, possible, minimum):
    metrics = CollapseMetrics(minimum * 0.99, possible, 0.9, 0.5)
    result = diagnose_collapse(metrics, kind=kind)
    assert result.state == "dimensional collapse"
    assert f"collapsed under {minimum:.3g})" in result.text
    metrics = dataclasses.replace(metrics, effective_rank=minimum * 1.01)
    assert diagnose_collapse(metrics, kind=kind).state == "healthy"


@KINDS
def test_two_vectors_span_one_direction(kind):
    metrics = spectrum(np.array([[1.0, 0, 2], [3, 0, -1]], np.float32))
    assert metrics.effective_rank == pytest.approx(1)
    assert metrics.eigenvalues == (pytest.approx(1),)
    assert metrics.possible_rank == 1
    # It is all that two rows can have.
    assert diagnose_collapse(metrics, kind=kind).state == "healthy"
