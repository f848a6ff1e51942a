"""docs/serving.md keeps its word: its lines of Python run, its links lead somewhere."""

import pathlib

import numpy as np
import onnx
from onnx import TensorProto, helper

from tests.examples.run_folder import NAMES, SHAPE, small
from tests.test_readme import links, python_blocks

PAGE = pathlib.Path(__file__).resolve().parents[2] / "docs" / "serving.md"
TEXT = PAGE.read_text(encoding="utf-8")


def write_onnx(path):
    """A stand-in that flattens; its input and output are those of an encoder's file."""
    nodes = [
        helper.make_node("Cast", ["image"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["floats"], ["representation"]),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, ("N", *SHAPE))
    rows = helper.make_tensor_value_info(
        "representation", TensorProto.FLOAT, ("N", 192)
    )
    graph = helper.make_graph(nodes, "stand-in", [image], [rows])
    versions = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=versions, ir_version=8), path)


def test_links_lead_somewhere():
    targets = set(links(TEXT))
    assert len(targets) > 4
    assert not [target for target in targets if not (PAGE.parent / target).exists()]


def test_python_lines_run(photo_run, tmp_path, monkeypatch):
    folder = tmp_path / "runs" / "cifar10"
    for part in ("onnx/1", "index"):
        (folder / part).mkdir(parents=True)
    (folder / "encoder").symlink_to(photo_run.folder / "encoder")
    (folder / "index" / "cifar10").symlink_to(photo_run.index)
    write_onnx(folder / "onnx" / "1" / "encoder.onnx")
    photo_run.save_photo("china", tmp_path / "photo.jpg", quality=95)
    images = np.stack([small(image) for image in photo_run.photos.values()])
    monkeypatch.chdir(tmp_path)
    names, received = {"images": images}, []
    for block in python_blocks(TEXT):
        exec(compile(block, PAGE.name, "exec"), names)
        received.append(names.pop("representations", None))
    of_file, _, of_openvino, of_onnx = received
    expected = photo_run.encoder(images).numpy()
    assert of_file.shape == (1, expected.shape[1])
    assert names["neighbours"][0] == NAMES[0]
    tolerance = 1e-4 * np.abs(expected).max()
    np.testing.assert_allclose(of_openvino, expected, rtol=0, atol=tolerance)
    np.testing.assert_array_equal(of_onnx, images.reshape(len(images), -1))
