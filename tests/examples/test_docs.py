"""The lines of Python in docs/serving.md run."""

import pathlib

import numpy as np

from tests.examples.run_folder import NAMES, SHAPE, small
from tests.test_readme import python_blocks
from vicreg_keras.export import onnx

PAGE = pathlib.Path(__file__).resolve().parents[2] / "docs" / "serving.md"


def test_python_lines_run(photo_run, tmp_path, monkeypatch):
    folder = tmp_path / "runs" / "cifar10"
    for part in ("onnx/1", "index"):
        (folder / part).mkdir(parents=True)
    (folder / "encoder").symlink_to(photo_run.folder / "encoder")
    (folder / "index" / "cifar10").symlink_to(photo_run.index)
    content = onnx.convert(photo_run.encoder, SHAPE)
    (folder / "onnx" / "1" / "encoder.onnx").write_bytes(content)
    photo_run.save_photo("china", tmp_path / "photo.jpg", quality=95)
    images = np.stack([small(image) for image in photo_run.photos.values()])
    monkeypatch.chdir(tmp_path)
    names, received = {"images": images}, []
    for block in python_blocks(PAGE):
        exec(compile(block, PAGE.name, "exec"), names)
        received.append(names.pop("representations", None))
    of_file, _, of_openvino, of_onnx = received
    expected = photo_run.encoder(images).numpy()
    assert of_file.shape == (1, expected.shape[1])
    assert names["neighbors"][0] == NAMES[0]
    tolerance = 1e-4 * np.abs(expected).max()
    np.testing.assert_allclose(of_openvino, expected, rtol=0, atol=tolerance)
    np.testing.assert_allclose(of_onnx, expected, rtol=0, atol=tolerance)
