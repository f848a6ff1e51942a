"""The retrieval page's search: copies, data without labels, incomplete indexes."""

import numpy as np

from tests.examples.test_retrieval_page import encoded, photo, send
from vicreg_keras.evaluate.index import NeighborIndex


def collapsed_search(dataset):
    """A search in which every image is as near as every other."""
    from retrieval_page.search import ImageSearch

    def encode(images, training):
        return np.ones((len(images), 4), np.float32)

    names = [*dataset.train.names, *dataset.validation.names]
    index = NeighborIndex.build(np.ones((len(names), 4)), names)
    return ImageSearch(encode, index, dataset)


def test_a_copy_of_an_image_is_its_neighbor(dataset):
    search = collapsed_search(dataset)
    assert [n.row for n in search.near_row(3, 5)] == [0, 1, 2, 4, 5]
    assert [n.row for n in search.near_row(900, 5)] == [0, 1, 2, 3, 4]


def test_without_labels_there_are_names_and_no_votes(dataset):
    from retrieval_page.server import create_app

    client = create_app(collapsed_search(dataset)).test_client()
    for answer in (
        send(client, encoded(photo())).json,
        client.get("/images/900/neighbors").json,
    ):
        assert answer["votes"] == []
        first = answer["neighbors"][0]
        assert (first["name"], first["class_name"]) == (dataset.train.names[0], None)


def test_what_an_index_does_not_find_is_left_out(dataset, monkeypatch):
    search = collapsed_search(dataset)
    found = np.array([[0.5, np.inf]], np.float32), np.array([[7, -1]])
    monkeypatch.setattr(search._index, "search", lambda *arguments: found)
    assert [n.row for n in search.near_image(search.image(0), 2)] == [7]
