"""A reader of rekeep's repositories that was written from format-spec/ alone. It shares no code with the program.

    read.py REPOSITORY --password TEXT | --recovery TEXT [--expected FILE]

It opens every object and every chunk, compares counts, sums, fingerprints and cuts with what the repository says, and
prints the listing of every snapshot, or compares it with FILE. Exit status 0: all is equal; 1: something is not."""

import argparse
import json
import pathlib
import sys

from layers import Layers, cells_of
from primitives import Damaged, Unknown, hash32, need
from repository import Repository

def shown(data):
    return data.hex() if len(data) <= 256 else f"{len(data)} bytes, blake3 {hash32(data).hex()}"
def record(row, names, value):
    cells = [[name.hex(), tag, shown(data)] for name, tag, data in cells_of(names, value)]
    listed = {"cells": cells, "fingerprint": row.fingerprint.hex()}
    listed |= {name: getattr(row, name) for name in ("generation", "expiry", "stamp") if getattr(row, name)}
    listed |= {"set": row.set.hex()} if row.set else {}
    return listed | ({} if row.user_key is None else {"user_key": row.user_key.hex()})

def in_range(key, row):
    return key >= bytes.fromhex(row["from"]) and (row["to"] is None or key < bytes.fromhex(row["to"]))
def collection(layers, said, end, is_exact):
    state = list(layers.state(said["stack"], end))
    rows, records = [it[0] for it in state], {it[0].key: record(*it) for it in state}
    found = (len(rows), sum(len(row.key_row()) + row.length for row in rows))
    wanted, is_counted = (said["records"], said["bytes"]), said.get("counted", True)
    need(found == wanted if is_counted else not said["coverage"], f"{said['name']}: {found} records and bytes, not {wanted}")
    for cover in said["coverage"]:
        within = [row for row in rows if in_range(row.key, cover)]
        need(len(within) == cover["records"], f"{said['name']}: records of a range")
        need(layers.sum(within) == cover["sum"], f"{said['name']}: the sum of a range")
    need("sets" not in said or exact_or_more(said["sets"], sets_of(rows), is_exact), f"{said['name']}: the numbers of a set")
    return {"codec": said["codec"], "records": records, "sum": layers.sum(rows), "stack": said["stack"],
            "sets": said.get("sets", []), **(stream(layers, said, end) if "journal" in said else {})}

def stream(layers, said, end):
    """Every version that journals hold by then, and what is shown at the moments at which they were made, and before them."""
    versions = [it for it in layers.versions(said["stack"]) if it[1] <= end]
    first = said["journal"]["from"]
    times = {time for it in versions for time in (it[1] - 1, it[1]) if time >= first} | {first - 1, first, end}
    moments = []
    for time in sorted(times):
        kept = [it for it in said["journal"].get("kept", []) if time < it["until"]]
        moment = max(time - time % kept[0]["every"], first) if kept and time < end else time
        rows = [row for row, _, _ in layers.state(said["stack"], moment)] if time >= first else None
        moments.append([time, None] if rows is None else [time, moment, len(rows), layers.sum(rows)])
    listed = [[shown(key), time, order, None if value is None else hash32(value).hex()] for key, time, order, value in versions]
    return {"versions": listed, "moments": moments}

def sets_of(rows):
    """What a manifest says of the records of each set."""
    sets = {}
    for row in rows:
        sets.setdefault(row.set.hex(), []).append(row)
    return [{
        "set": name, "records": len(of), "value_bytes": sum(row.length for row in of),
        "expiring": sum(row.expiry != 0 for row in of), "latest_expiry": max(row.expiry for row in of),
        "largest_value": max(row.length for row in of), "without_user_key": sum(row.user_key is None for row in of),
    } for name, of in sorted(sets.items())]

def exact_or_more(said, found, is_exact):
    """Where the end was not known while records were counted, those that expired meanwhile are among them."""
    if is_exact or said == found:
        return said == found
    said = {it["set"]: it for it in said}
    return all(it["set"] in said and all(said[it["set"]][name] >= it[name] for name in it) for it in found)

def rows_of(layers, stack, keys):
    """What each layer says of each key: absent, a value, inherited, a tombstone; left out if only the base has it."""
    layers = [layers.layer(ref) for ref in stack]
    letter = lambda row: "-" if row is None else "vivt"[row.kind]
    rows = {shown(key): "".join(letter(layer.get(key)) for layer in layers) for key in keys}
    return {key: letters for key, letters in rows.items() if letters.strip("-") != letters[:1]}

def few(listed):
    """As it is, or number and hash of what is too much to be listed."""
    if len(listed) <= 100:
        return listed
    lines = (f"{key} {json.dumps(listed[key], sort_keys=True, separators=(',', ':'))}\n" for key in sorted(listed))
    return {"count": len(listed), "blake3": hash32("".join(lines).encode()).hex()}

def listing(repository):
    layers = Layers(repository)
    counts, objects = repository.manifests()
    snapshots = []
    for snapshot, manifest in sorted(counts.items(), key=lambda it: (it[1]["content"]["end"], it[1]["content"].get("order", 0), it[0])):
        end = manifest["content"]["end"]
        collections = {it["name"]: collection(layers, it, end, manifest["content"]["start"] == end) for it in manifest["collections"]}
        content = manifest["content"]
        snapshots.append({
            "id": snapshot, "revision": manifest["revision"], "start": content["start"], "end": end,
            "connector": content["source"]["connector"], "parent": content["parent"], "tags": manifest["tags"],
            "hold": manifest["hold"], "collections": collections,
            "tables": sorted(it for it in manifest if it.endswith("_table")),
        })
    collections = [it for one in snapshots for it in one["collections"].items()]
    keys = {name: set().union(*(it["records"] for other, it in collections if other == name)) for name, _ in collections}
    for name, it in collections:
        it["rows"] = few(rows_of(layers, it.pop("stack"), keys[name]))
        it["records"] = few({shown(key): record for key, record in it["records"].items()})
    for folder in ("leases", "checkpoints", "trash", "forgotten", "promises", "damage"):
        for name in repository.listed(folder):
            objects[name] = repository.looked(name)[2] or "good"
    for name in repository.listed("packs"):
        repository.pack(bytes.fromhex(name.split("/")[2]))
    return {"objects": objects, "snapshots": snapshots}

def flat(listed, where=""):
    """Every value of a listing by its path."""
    parts = listed.items() if isinstance(listed, dict) else enumerate(listed) if isinstance(listed, list) else ()
    below = {path: value for name, it in parts for path, value in flat(it, f"{where}/{name}").items()}
    return below or {where: json.dumps(listed)}

def differences(found, expected):
    found, expected = flat(found), flat(expected)
    return [f"{path}: {found.get(path, 'nothing')[:200]} instead of {expected.get(path, 'nothing')[:200]}"
            for path in sorted({*found, *expected}) if found.get(path) != expected.get(path)]

def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("repository")
    for name in ("--password", "--recovery", "--expected"):
        parser.add_argument(name)
    given = parser.parse_args()
    try:
        found = listing(Repository(given.repository, given.password, given.recovery))
    except (Damaged, Unknown) as problem:
        print(f"{given.repository}: {type(problem).__name__}: {problem}", file=sys.stderr)
        return 1
    if not given.expected:
        json.dump(found, sys.stdout, indent=1, sort_keys=True)
        return 0
    expected = json.loads(pathlib.Path(given.expected).read_text(encoding="utf-8"))
    wrong = differences(found, {name: expected[name] for name in found})
    for line in wrong[:50]:
        print(line, file=sys.stderr)
    print(f"{given.repository}: {len(found['snapshots'])} snapshots, {len(wrong)} differences")
    return 1 if wrong else 0

if __name__ == "__main__":
    sys.exit(main())
