"""Makes, writes and compares datasets with the library itself, of whichever version is installed."""
import hashlib
import json
import os
import sys
import time

import deeplake
import numpy as np

DIMENSIONS = 64
BATCH = 25
# Of datasets at a service.
CREDENTIALS = json.loads(os.environ.get("LAKE_CREDENTIALS", "null"))


def row(number):
    vector = np.random.default_rng(number).random(DIMENSIONS, dtype=np.float32)
    return {"id": number, "embedding": vector, "content": f"row {number} " + "word " * (number % 40)}


def batch(first, count):
    rows = [row(first + number) for number in range(count)]
    return {
        "id": [one["id"] for one in rows],
        "embedding": np.stack([one["embedding"] for one in rows]),
        "content": [one["content"] for one in rows],
    }


def make(path, commits):
    dataset = deeplake.create(path, creds=CREDENTIALS)
    dataset.add_column("id", deeplake.types.Int64())
    dataset.add_column("embedding", deeplake.types.Embedding(DIMENSIONS))
    dataset.add_column("content", deeplake.types.Text())
    dataset.commit("columns")
    for number in range(commits):
        dataset.append(batch(number * BATCH, BATCH))
        dataset.commit(f"batch {number}")


def write(path, stop):
    dataset = deeplake.open(path, creds=CREDENTIALS)
    print("writing", flush=True)
    while not os.path.exists(stop):
        dataset.append(batch(len(dataset), BATCH))
        dataset.commit("more")
    print(len(dataset), flush=True)


def compare(path):
    """Every row must be the one that its number makes."""
    dataset = deeplake.open_read_only(path, creds=CREDENTIALS)
    rows = len(dataset)
    ids, vectors, texts = dataset["id"][:], dataset["embedding"][:], dataset["content"][:]
    for number in range(rows):
        wanted = row(number)
        assert int(ids[number]) == number, (number, ids[number])
        assert np.array_equal(np.asarray(vectors[number], dtype=np.float32), wanted["embedding"]), number
        assert str(texts[number]) == wanted["content"], number
    print(json.dumps({"rows": rows, "version": dataset.version}))


def alter(path):
    """All that changes a dataset beside appending."""
    dataset = deeplake.open(path, creds=CREDENTIALS)
    dataset.tag("before")
    dataset[3]["content"] = "changed"
    dataset.delete(7)
    dataset.metadata["note"] = "altered"
    dataset.commit("update and delete")
    dataset.branch("side")
    side = dataset.branches["side"].open()
    side.append(batch(100_000, BATCH))
    side.commit("on the side")
    side.append(batch(200_000, BATCH))
    side.commit("on the side again")
    dataset.merge("side")
    dataset.rename_column("content", "words")
    dataset.commit("columns")
    dataset.compact()
    dataset.append({"id": [1], "embedding": row(1)["embedding"][None, :], "words": ["last"]})
    dataset.commit("last")


def summary(path):
    """What is in every branch and under every tag."""

    def of(dataset):
        columns = {column.name: hashlib.sha256() for column in dataset.schema.columns}
        for name, digest in columns.items():
            for value in dataset[name][:]:
                digest.update(np.asarray(value).tobytes() if not isinstance(value, str) else value.encode())
                digest.update(b"\0")
        return {"rows": len(dataset), "columns": {name: digest.hexdigest() for name, digest in columns.items()}}

    dataset = deeplake.open_read_only(path, creds=CREDENTIALS)
    found = {"main": of(dataset), "metadata": {name: dataset.metadata[name] for name in dataset.metadata.keys()}}
    for name in dataset.branches.names():
        found["branch " + name] = of(dataset.branches[name].open())
    for name in dataset.tags.names():
        found["tag " + name] = of(dataset.tags[name].open())
    print(json.dumps(found, sort_keys=True))


def append(path):
    dataset = deeplake.open(path, creds=CREDENTIALS)
    before = len(dataset)
    dataset.append(batch(before, BATCH))
    dataset.commit("after the restore")
    assert len(deeplake.open_read_only(path, creds=CREDENTIALS)) == before + BATCH
    print(before + BATCH)


def append_one(path):
    dataset = deeplake.open(path, creds=CREDENTIALS)
    dataset.append(batch(len(dataset), 1))
    dataset.commit("one row")


def race_make(path):
    dataset = deeplake.create(path, creds=CREDENTIALS)
    dataset.add_column("writer", deeplake.types.Int64())
    dataset.add_column("number", deeplake.types.Int64())
    dataset.commit("columns")


def race(path, writer, stop):
    """Commits rows of its own beside other writers until it is told to stop; writer 0 only compacts."""
    dataset = deeplake.open(path, creds=CREDENTIALS)
    writer, number = int(writer), 0
    while not os.path.exists(stop):
        if writer == 0:
            deeplake.open(path, creds=CREDENTIALS).compact()
        else:
            dataset.append({"writer": [writer] * 5, "number": list(range(number, number + 5))})
            dataset.commit(f"writer {writer}")
            number += 5


def race_compare(path, live):
    """A copy has the rows, in their order, that the live dataset has at the copy's version."""
    dataset = deeplake.open_read_only(path, creds=CREDENTIALS)
    there = deeplake.open_read_only(live, creds=CREDENTIALS).history[dataset.version].open()
    for column in ["writer", "number"]:
        copied, wanted = (list(map(int, one[column][:])) for one in (dataset, there))
        assert copied == wanted, (dataset.version, len(copied), len(wanted))
    print(json.dumps({"rows": len(dataset)}))


def row3(number, photo):
    return {"embedding": row(number)["embedding"], "content": row(number)["content"], "photo": deeplake.link(photo)}


def make3(path):
    """Two commits of 50 and 30 rows, and 7 rows that are not committed; each has a link to a picture beside."""
    from PIL import Image

    dataset = deeplake.empty(path)
    dataset.create_tensor("embedding", htype="embedding", dtype="float32")
    dataset.create_tensor("content", htype="text")
    dataset.create_tensor("photo", htype="link[image]", sample_compression="png")
    photo = path + ".png"
    Image.fromarray(np.full((4, 5, 3), 9, dtype=np.uint8)).save(photo)
    for first, count, message in [(0, 50, "first"), (50, 30, "second"), (80, 7, None)]:
        with dataset:
            for number in range(first, first + count):
                dataset.append(row3(number, photo))
        if message:
            dataset.commit(message)


def write3(path, photo, stop):
    """Writes rows, and commits now and then, until it is told to stop."""
    dataset = deeplake.load(path, read_only=False, verbose=False)
    print("writing", flush=True)
    number = 0
    while not os.path.exists(stop):
        with dataset:
            for _ in range(3):
                dataset.append(row3(len(dataset), photo))
        number += 1
        if number % 4 == 0:
            dataset.commit("more")
        # So many rows are read again one by one.
        time.sleep(0.1)
    dataset.commit("last", allow_empty=True)


def compare3(path):
    dataset = deeplake.load(path, read_only=True, verbose=False)
    rows = len(dataset)
    for number in range(rows):
        wanted = row(number)
        assert np.array_equal(dataset["embedding"][number].numpy(), wanted["embedding"]), number
        assert dataset["content"][number].numpy().item() == wanted["content"], number
        assert (dataset["photo"][number].numpy() == 9).all(), number
    print(json.dumps({"rows": rows}))


def append3(path, photo):
    dataset = deeplake.load(path, read_only=False, verbose=False)
    before = len(dataset)
    with dataset:
        dataset.append(row3(before, photo))
    dataset.commit("after the restore")
    print(before + 1)


if __name__ == "__main__":
    verb, arguments = sys.argv[1], sys.argv[2:]
    if verb == "make":
        make(arguments[0], int(arguments[1]))
    else:
        globals()[verb](*arguments)
