"""Checks format-spec/vectors/*.json: single values, and what must be refused.

    vectors.py FOLDER"""

import base64
import copy
import json
import pathlib
import re
import sys

from groups import check_groups
from layers import Cut, Layers, Row, canonical, cells_of, fast_cdc, fingerprint, read_keys, read_values, read_version_key, shape_bytes, version_key
from primitives import Damaged, Unknown, hash32, keyed, need, open_c, open_x, varint, xwing_open, blake3
from repository import Epoch, Repository, recovery_key

unhex = bytes.fromhex

def runs_of(one):
    return [unhex(run) for run in one["runs"]]
def row_of(one):
    user_key = one.get("user_key")
    return Row(unhex(one["key"]), one.get("kind", 0), unhex(one.get("set", "")), one.get("generation", 0),
               one.get("expiry", 0), one.get("stamp", 0), None if user_key is None else unhex(user_key),
               unhex(one.get("fingerprint", "00" * 12)), one.get("length", 0))

def refuses(read, data):
    try:
        read(data)
        return False
    except (Damaged, Unknown, IndexError, StopIteration):
        return True

class Chunks:
    """What `Layers` asks a repository for."""
    def __init__(self, said, seed):
        self.chunks, self.gear_seed = said, seed
    def chunk(self, chunk, kind):
        need(self.chunks[chunk.hex()]["kind"] == kind, "another kind of chunk")
        return [unhex(self.chunks[chunk.hex()]["bytes"])]

def check_layers(said):
    for one in said["shapes"]:
        encoded = shape_bytes(list(map(unhex, one["names"])))
        need(encoded.hex() == one["bytes"] and hash32(encoded)[:16].hex() == one["digest"], "a shape")
    for one in said["fingerprints"]:
        names, value = list(map(unhex, one["names"])), unhex(one["value"])
        found = fingerprint(unhex(said["fingerprint_key"]), names, row_of({**one, "key": ""}), value)
        need(found.hex() == one["fingerprint"], f"a fingerprint of {len(value)} bytes")
        need(canonical([cell[1:] for cell in cells_of(names, value)]) == value, "cells of a value")
    total = 0
    for one in said["key_rows"]:
        row = row_of(one).key_row()
        hashed = keyed(unhex(said["collection_key"]), row)
        need(row.hex() == one["row"] and hashed.hex() == one["hash"], "a key row")
        total += int.from_bytes(hashed, "little")
    need((total % (1 << 256)).to_bytes(32, "little").hex() == said["sum"], "the sum of a collection")
    before = None
    for one in said["version_keys"]:
        said_key, written = (unhex(one["key"]), one["time"], one["order"]), unhex(one["version_key"])
        need(version_key(*said_key) == written and read_version_key(written) == said_key, "a version key")
        need(before is None or before < written, "version keys do not ascend")
        before = written
    need(all(refuses(read_version_key, unhex(one)) for one in said["refused_version_keys"]), "no version key was read")
    for one in said["cuts"]:
        cut, rows, ends = Cut(unhex(said["cut_key"])), 0, []
        for n, length in enumerate(one["lengths"]):
            rows += 1
            if cut.ends_after(b"key %d" % n, length) and (rows > 1 or not one["list"]):
                ends.append(n)
                cut, rows = Cut(unhex(said["cut_key"])), 0
        need(ends == one["ends_after"], "where blocks or lists end")
    for one in said["pieces"]:
        data = blake3.blake3(one["text"].encode()).digest(length=one["bytes"])
        need(fast_cdc(data, said["gear_seed"]) == one["lengths"], "where pieces end")
    one, value = said["piece_list"], unhex(said["piece_list"]["value"])
    layers = Layers(Chunks(one["chunks"], said["gear_seed"]))
    need(layers.pieces(unhex(one["list"]), len(value)) == value, "nested piece lists")
    for one in said["chunk_ids"]:
        runs = runs_of(one)
        data = bytes([one["kind"]]) + varint(len(runs)) + b"".join(varint(len(run)) for run in runs) + b"".join(runs)
        need(keyed(unhex(said["chunk_id_key"]), data).hex() == one["id"], "the id of a chunk")
    for one in said["keys_chunks"]:
        for row, expected in zip(read_keys(runs_of(one)), one["rows"], strict=True):
            found = {"key": row.key.hex(), "kind": row.kind} | ({} if row.kind == 3 else {
                "set": row.set.hex(), "generation": row.generation, "expiry": row.expiry, "stamp": row.stamp,
                "user_key": row.user_key if row.user_key is None else row.user_key.hex(),
                "fingerprint": row.fingerprint.hex(), "length": row.length})
            need(found == expected, f"a row of a keys chunk: {found}, not {expected}")
    for one in said["values_chunks"]:
        found = [{"names": [name.hex() for name in names], "value": value.hex()} for names, value in read_values(runs_of(one))]
        need(found == one["values"], "the values of a values chunk")
    for read, name in ((read_keys, "keys"), (read_values, "values")):
        for one in said[f"refused_{name}_chunks"]:
            need(refuses(read, runs_of(one)), f"{name} chunk: {one['why']} is not refused")

def regions_of(feature):
    """Where a repository with this feature may be written; `None` if the feature says nothing that is known."""
    begins, regions = "write:allowed-regions:", feature.removeprefix("write:allowed-regions:").split(",")
    known = all(re.fullmatch("[a-z0-9-]{1,64}", region, re.ASCII) for region in regions)
    return regions if feature.startswith(begins) and known else None

def check_objects(said):
    for one in said["seals"]:
        parts = [unhex(one[name]) for name in ("key", "nonce", "ad", "sealed")]
        plain = (open_x if one["cipher"] == "X" else open_c)(one["suite"], *parts)
        need(plain.hex() == one["plain"], "a seal")
    one = said["capsule"]
    need(xwing_open(unhex(one["private"]), unhex(one["ciphertext"])).hex() == one["shared"], "an X-Wing ciphertext")
    repository = Repository.__new__(Repository)
    repository.id, repository.epochs = unhex(said["repository"]), {0: Epoch({"root": said["root"]})}
    for one in said["objects"]:
        repository.read = lambda name, one=one: unhex(one["bytes"])
        try:
            content = repository.small(one["name"])[1]
            found = "opens"
            need("content" not in one or content == one["content"], f"{one['why']}: another content")
        except (Unknown, Damaged) as problem:
            found = type(problem).__name__.lower()
        need(found == one["outcome"], f"{one['name']}, {one['why']}: {found}, not {one['outcome']}")
    for one in said["features"]:
        need(regions_of(one["feature"]) == one["regions"], f"what {one['feature']} says")
    repository.index, repository.packs, repository.chunk_key = {}, {}, unhex(said["chunk_id_key"])
    for one in said["stored"]:
        front, zeros, end = one["parts"]
        repository.read = lambda name, data=unhex(front) + bytes(zeros) + unhex(end): data
        found = outcome_of(repository, one["name"])
        need(found == one["outcome"], f"{one['name']}, {one['why']}: {found}, not {one['outcome']}")

def check_slots(said):
    repository = Repository.__new__(Repository)
    repository.id = unhex(said["repository"])
    for one in said["slots"]:
        secret = one["secret"]
        external = "provider" in secret and (secret["provider"], *(base64.b64decode(secret[it]) for it in ("wrapped", "key")))
        found, epochs = "damaged", {}
        try:
            slot, found = repository.slot(one["text"].encode()), "stays closed"
            recovery = recovery_key(secret["recovery"]) if "recovery" in secret else None
            epochs, found = repository.open_slot(one["name"], slot, secret.get("password"), recovery, external), "opens"
        except Unknown:
            found = "unknown"
        except Damaged:
            pass
        wanted = {int(number): Epoch(held) for number, held in one.get("epochs", {}).items()}
        keys = lambda all: {number: (it.metadata, it.values, it.publics) for number, it in all.items()}
        need(keys(epochs) == keys(wanted), f"{one['why']}: other keys")
        need(found == one["outcome"], f"{one['why']}: {found}, not {one['outcome']}")

def outcome_of(repository, name):
    """What becomes of a pack, every chunk of which is read, or of an index object."""
    other = copy.copy(repository)
    try:
        if name.startswith("index/"):
            other.index = {}
            other.open_index(name)
            repository.index = repository.index or other.index
        else:
            pack = unhex(name.split("/")[-1])
            other.pack(pack)
            # Where a longer wrapped key stands, the same frames lie further behind.
            further = int.from_bytes(other.read(name)[50:52], "little") - 72
            for chunk, (place,) in repository.index.items():
                if (place[2] in (2, 4)) == (other.read(name)[10] == 2):
                    other.index = {chunk: [(pack, *place[1:3], place[3] + further, *place[4:])]}
                    other.chunk(chunk, place[2])
        return "opens"
    except Unknown:
        return "unknown"
    except (Damaged, IndexError, KeyError):
        return "damaged"

def main():
    for name, check in (("layers.json", check_layers), ("objects.json", check_objects), ("groups.json", check_groups), ("slots.json", check_slots)):
        check(json.loads(pathlib.Path(sys.argv[1], name).read_text(encoding="utf-8")))
        print(f"{name}: all is as it says")

if __name__ == "__main__":
    main()
