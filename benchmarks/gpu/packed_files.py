"""The files of a packed run: parts of arrays, states and records. Needs numpy alone.

`pack` copies this file beside `run_packed.py`.
"""

import dataclasses
import hashlib
import json
import os

import numpy as np

STEP_FILE = "step.stablehlo"
_PART_BYTES = 15 * 2**20
_METRICS, _STATE = "metrics.jsonl", "state.json"


class Log:
    """Records of a run, on the screen and in its folder.

    Args:
        options: Of the command line.
        step: Step that training goes on from; records after it are removed.
    """

    def __init__(self, options, step):
        self._path = options.output / _METRICS if options.parts != 0 else None
        if self._path is not None:
            options.output.mkdir(parents=True, exist_ok=True)
            kept = [one for one in read_records(options.output) if one["step"] <= step]
            self._path.write_text("".join(f"{json.dumps(one)}\n" for one in kept))

    def write(self, record):
        if self._path is not None:
            with self._path.open("a") as file:
                file.write(json.dumps(record) + "\n")
        print(
            f"epoch {record['epoch']}, step {record['step']:,}: loss "
            f"{record['loss']:.5f}, {record['images_per_second']:,.0f} images and "
            f"{record['teraflops_per_second']:.2f} TFLOP per second",
            flush=True,
        )


def read_records(folder):
    """Returns the records in a folder; none where there is no such file."""
    path = folder / _METRICS
    if not path.exists():
        return []
    try:
        return [json.loads(line) for line in path.read_text().splitlines()]
    except ValueError as error:
        raise damaged(path, error) from error


@dataclasses.dataclass
class State:
    """What training left.

    Attributes:
        arrays: Values of variables, by their position in the step's arguments.
        step: Step that they are of.
        seconds: Seconds of training.
        left_out: Whether only the encoder's and the counters' are there.
    """

    arrays: dict
    step: int
    seconds: float
    left_out: bool


def read_state(folder, expected_id):
    """Returns the state in a folder, or `None` where there is none.

    Args:
        folder: The folder.
        expected_id: Id of what was packed.
    """
    if not (folder / _STATE).exists():
        return None
    facts = read_json(folder / _STATE)
    if facts["id"] != expected_id:
        raise SystemExit(
            f"Expected a state of what was packed. Received: {folder}, whose state is "
            "of another recipe, of other data or of an earlier packing. Name another "
            "folder."
        )
    arrays = read_parts(folder, facts["files"])
    if sorted(arrays) != facts["variables"]:
        raise damaged(folder / _STATE, "variables are missing")
    return State(arrays, facts["step"], facts["seconds"], facts["left_out"])


def check_parts(packed, max_parts):
    """Checks, before training, that the encoder fits into so many parts."""
    kinds = packed.manifest["kinds"]
    arrays = {i: a for i, a in enumerate(packed.arrays) if kinds[i] == "encoder"}
    needed = len(split(arrays, _PART_BYTES))
    if max_parts and needed > max_parts:
        raise SystemExit(f"Expected parts of at least {needed}, for the encoder.")


def write_state(options, manifest, values, step, seconds):
    """Writes all variables or, if they do not fit, the encoder's and the counters'."""
    arrays = {f"{i:05d}": value for i, value in enumerate(values)}
    parts, left_out = split(arrays, _PART_BYTES), False
    if options.parts and len(parts) > options.parts:
        print("Left out, so that the rest fits: projector and optimizer.")
        kept = ("encoder", "counters")
        arrays = {
            key: value
            for key, value in arrays.items()
            if manifest["kinds"][int(key)] in kept
        }
        parts, left_out = split(arrays, _PART_BYTES), True
    options.output.mkdir(parents=True, exist_ok=True)
    files = write_parts(options.output, f"state-{step}", parts)
    facts = {"id": manifest["id"], "step": step, "seconds": seconds, "files": files}
    facts |= {"variables": sorted(arrays), "left_out": left_out}
    aside = options.output / f".{_STATE}"
    aside.write_text(json.dumps(facts, indent=1))
    os.replace(aside, options.output / _STATE)
    # Only now is the earlier one no longer needed.
    for old in options.output.glob("state-*.npz"):
        if old.name not in files:
            old.unlink()


def split(arrays, max_bytes):
    """Distributes arrays over parts of at most so many bytes; large ones are cut."""
    parts, room = [{}], max_bytes
    for key, array in arrays.items():
        flat = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        first = 0
        while True:
            piece = flat[first : first + room]
            name = f"{key}:{first}:{array.dtype}:{','.join(map(str, array.shape))}"
            parts[-1][name] = piece
            first, room = first + len(piece), room - len(piece)
            if first == len(flat):
                break
            parts.append({})
            room = max_bytes
    return parts


def write_parts(folder, name, parts, save=np.savez):
    """Writes what `split` returned; returns the files' digests by name."""
    files = {}
    for i, part in enumerate(parts):
        path = folder / f"{name}-{i:02d}.npz"
        save(path, **part)
        files[path.name] = digest(path)
    return files


def read_parts(folder, files):
    """Reads what `write_parts` wrote of what `split` returned."""
    pieces = {}
    for name, expected in files.items():
        path = folder / name
        try:
            if digest(path) != expected:
                raise damaged(path, "its checksum is another")
        except OSError as error:
            raise damaged(path, error) from error
        if path.suffix != ".npz":
            continue
        with np.load(path) as part:
            for full_name in part.files:
                key, first, dtype, shape = full_name.split(":")
                pieces.setdefault((key, dtype, shape), []).append(
                    (int(first), part[full_name])
                )
    arrays = {}
    for (key, dtype, shape), found in pieces.items():
        flat = np.concatenate([piece for _, piece in sorted(found, key=lambda x: x[0])])
        sizes = [int(size) for size in shape.split(",") if size]
        arrays[key] = flat.view(np.dtype(dtype)).reshape(sizes)
    return arrays


def digest(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_json(path):
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise damaged(path, error) from error


def damaged(path, reason):
    """Returns the error of a file that is not as it was written."""
    return SystemExit(
        f"Expected {path} as it was written. Received: {reason}. Copy it again."
    )
