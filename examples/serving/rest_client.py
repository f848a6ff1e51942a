"""Nearest images of a photo, by TensorFlow Serving's REST interface.

    python examples/serving/rest_client.py photo.jpg --index=runs/cifar10/index/cifar10

It needs numpy, faiss and Pillow, and neighbors.py and neighbor_index.py.
"""

import base64
import http.client
import json
import urllib.error
import urllib.request

import neighbors


def connect(server: str, timeout: float) -> neighbors.Ask:
    """Returns a function that asks a server about one photo.

    Args:
        server: `HOST:PORT` of its REST interface.
        timeout: Seconds that it may be silent.

    Returns:
        A function that raises `ConnectionError` where no answer comes, and
        `ValueError` where the server refuses.
    """
    url = f"http://{server}/v1/models/{neighbors.MODEL}:predict"

    def ask(signature, content):
        instance = {"image_bytes": {"b64": base64.b64encode(content).decode("ascii")}}
        body = json.dumps({"signature_name": signature, "instances": [instance]})
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(url, body.encode("ascii"), headers)
        try:
            with urllib.request.urlopen(request, timeout=timeout) as response:
                answer = response.read()
        except urllib.error.HTTPError as error:
            raise ValueError(
                f"Expected an answer of the model {neighbors.MODEL} at {server}. "
                f"Received: status {error.code}, {_reason(error.read())}"
            ) from error
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", None) or error
            raise ConnectionError(
                f"Expected TensorFlow Serving's REST interface at {server}. Received: "
                f"{reason}. Start it, or say --server=HOST:PORT or a larger --timeout."
            ) from error
        return _first_prediction(answer, server)

    return ask


def _reason(answer):
    """What a server says was wrong."""
    text = answer.decode("utf-8", "replace")
    try:
        return json.loads(text)["error"]
    # TensorFlow Serving escapes as C does, which is not always JSON.
    except (ValueError, KeyError, TypeError):
        return text


def _first_prediction(answer, server):
    try:
        outputs = json.loads(answer)["predictions"][0]
        return dict(outputs)
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise ValueError(
            f"Expected predictions of outputs by name from {server}. Received: "
            f"{answer[:60]!r}. Is it TensorFlow Serving?"
        ) from error


if __name__ == "__main__":
    neighbors.run(__doc__.partition("\n")[0], 8501, connect)
