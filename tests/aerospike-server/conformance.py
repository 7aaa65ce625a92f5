"""The official Python client, unmodified, against the test server: what it can do to a real cluster it can do here.

Usage: python conformance.py HOST PORT. Ends with status 0 and the line "conformance: all passed" if everything holds.
"""

import sys
import time

import aerospike
from aerospike import exception as errors
from aerospike_helpers import expressions as exp
from aerospike_helpers.batch import records as batch
from aerospike_helpers.operations import operations as op

NAMESPACE, SET = "test", "python"


def single_records(client):
    key = (NAMESPACE, SET, "one")
    bins = {"n": 7, "s": "text", "f": 1.5, "b": b"\x00\xff", "l": [1, "x", [2]], "m": {"a": 1, "b": [True]}, "t": True}
    client.put(key, bins, meta={"ttl": 3600}, policy={"key": aerospike.POLICY_KEY_SEND})
    _, meta, got = client.get(key)
    assert got == bins, got
    assert meta["gen"] == 1 and 3590 <= meta["ttl"] <= 3600, meta
    _, meta = client.exists(key)
    assert meta["gen"] == 1
    client.touch(key, 100)
    client.increment(key, "n", 3)
    client.append(key, "s", "!")
    _, meta, got = client.select(key, ["n", "s"])
    assert (meta["gen"], got) == (4, {"n": 10, "s": "text!"}), (meta, got)
    _, _, got = client.operate(key, [op.write("n", 1), op.read("n")])
    assert got == {"n": 1}, got
    client.remove_bin(key, ["f"])
    assert "f" not in client.get(key)[2]
    try:
        client.put(key, {"n": 2}, policy={"exists": aerospike.POLICY_EXISTS_CREATE})
        raise AssertionError("a record was created twice")
    except errors.RecordExistsError:
        pass
    try:
        client.put(key, {"n": 2}, meta={"gen": 1}, policy={"gen": aerospike.POLICY_GEN_EQ})
        raise AssertionError("a wrong generation was taken")
    except errors.RecordGenerationError:
        pass
    client.remove(key)
    try:
        client.get(key)
        raise AssertionError("a removed record is there")
    except errors.RecordNotFound:
        pass


def batches(client):
    keys = [(NAMESPACE, SET, n) for n in range(300)]
    writes = [batch.Write(key, [op.write("n", key[2])]) for key in keys]
    done = client.batch_write(batch.BatchRecords(writes))
    assert done.result == 0 and all(row.result == 0 for row in done.batch_records)
    read = client.batch_read(keys + [(NAMESPACE, SET, "absent")])
    found = [row.record[2]["n"] for row in read.batch_records[:300]]
    assert found == list(range(300))
    assert read.batch_records[300].result == 2
    client.batch_remove(keys[:50])
    read = client.batch_read(keys, [])
    assert sum(row.result == 0 for row in read.batch_records) == 250


def queries(client):
    numbers = sorted(bins["n"] for _, _, bins in client.scan(NAMESPACE, SET).results())
    assert numbers == list(range(50, 300)), len(numbers)
    numbers = sorted(bins["n"] for _, _, bins in client.query(NAMESPACE, SET).results())
    assert numbers == list(range(50, 300)), len(numbers)
    over = exp.And(exp.GT(exp.IntBin("n"), exp.Val(289)), exp.GT(exp.LastUpdateTime(), exp.Val(0))).compile()
    numbers = sorted(bins["n"] for _, _, bins in client.query(NAMESPACE, SET).results({"expressions": over}))
    assert numbers == list(range(290, 300)), numbers
    query = client.query(NAMESPACE, SET)
    query.select("absent")
    assert len(query.results()) == 250
    # Pages of 70 of one query object, which remembers where it was.
    query = client.query(NAMESPACE, SET)
    query.max_records = 70
    query.paginate()
    seen = []
    while not query.is_done():
        seen += [bins["n"] for _, _, bins in query.results()]
    assert sorted(seen) == list(range(50, 300)), len(seen)


def modules_and_indexes(client, directory):
    path = f"{directory}/conformance.lua"
    with open(path, "w", encoding="ascii") as file:
        file.write("function f(r) return 1 end\n")
    client.udf_put(path)
    assert any(module["name"] == "conformance.lua" for module in client.udf_list())
    assert "return 1" in client.udf_get("conformance.lua")
    client.udf_remove("conformance.lua")
    time.sleep(0.1)
    assert client.udf_list() == []
    client.index_single_value_create(NAMESPACE, SET, "n", aerospike.INDEX_NUMERIC, "py_n")
    listed = client.info_all(f"sindex-list:namespace={NAMESPACE}")
    assert all("indexname=py_n" in text for _, text in listed.values()), listed
    client.index_remove(NAMESPACE, "py_n")


def truncation(client):
    client.truncate(NAMESPACE, SET, 0)
    assert client.scan(NAMESPACE, SET).results() == []


def main():
    import tempfile

    client = aerospike.client({"hosts": [(sys.argv[1], int(sys.argv[2]))]}).connect()
    assert len(client.get_nodes()) >= 1
    single_records(client)
    batches(client)
    queries(client)
    with tempfile.TemporaryDirectory() as directory:
        modules_and_indexes(client, directory)
    truncation(client)
    client.close()
    print("conformance: all passed")


if __name__ == "__main__":
    main()
