"""Opens a Deep Lake dataset read-only (at a version, if one is given), reads every column, and says what is in it."""
import hashlib
import json
import sys

import deeplake
import numpy


def checksum(values):
    digest = hashlib.sha256()
    for value in values:
        if isinstance(value, numpy.ndarray) and value.dtype != object:
            digest.update(str((value.dtype.str, value.shape)).encode() + value.tobytes())
        else:
            digest.update(repr(value.tolist() if isinstance(value, numpy.ndarray) else value).encode())
        digest.update(b"\0")
    return digest.hexdigest()


def version_4(path, version):
    dataset = deeplake.open_read_only(path)
    if version is not None:
        dataset = dataset.history[version].open()
    names = [column.name for column in dataset.schema.columns]
    columns = {name: checksum(dataset[name][:]) for name in names}
    return {"rows": len(dataset), "version": dataset.version, "columns": columns}


def version_3(path, version):
    dataset = deeplake.load(path, read_only=True, verbose=False)
    if version is not None:
        dataset.checkout(version)
    columns = {}
    for name in dataset.tensors:
        tensor = dataset[name]
        columns[name] = checksum(tensor[number].numpy() for number in range(len(tensor)))
    # A node that is being written may have more than its commit: that is no version to compare.
    version = None if dataset.has_head_changes else dataset.commit_id
    return {"rows": len(dataset), "version": version, "columns": columns}


reader = version_4 if hasattr(deeplake, "open_read_only") else version_3
print(json.dumps(reader(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None)))
