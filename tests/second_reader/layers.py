"""Layers, blocks, pieces and stacks: format-spec/layers.md, and the fingerprints of records.md."""

import hashlib
from collections import Counter
from dataclasses import dataclass, replace
from itertools import accumulate

from primitives import M64, Cursor, HighwayHash, derive, hash32, keyed, need, slice_of, varint

IN_PLACE, INHERITED, PIECES, TOMBSTONE = range(4)
KEYS, VALUES, LIST, PIECE, PIECE_LIST, TABLE, VERSIONS = range(1, 8)
KIB, MIB = 1 << 10, 1 << 20
FINGERPRINTS = b"highwayhash128-96"

@dataclass
class Row:
    key: bytes
    kind: int
    set: bytes = b""
    generation: int = 0
    expiry: int = 0
    stamp: int = 0
    user_key: bytes | None = None
    fingerprint: bytes = bytes(12)
    length: int = 0
    shape: tuple | None = None
    pieces: bytes | None = None
    value: bytes | None = None
    def user_key_bytes(self):
        return b"\0" if self.user_key is None else b"\1" + slice_of(self.user_key)
    def key_row(self):
        numbers = varint(self.generation) + varint(self.expiry) + varint(self.stamp)
        return slice_of(self.key) + slice_of(self.set) + numbers + self.user_key_bytes() + self.fingerprint
    def is_over(self, time):
        return self.expiry != 0 and time >= 0 and self.expiry <= time

def read_shape(cursor):
    start = cursor.at
    names = tuple(cursor.slice() for _ in range(cursor.varint()))
    need(len(names) <= 32_767 and all(a < b for a, b in zip(names, names[1:])), "names of a shape do not ascend")
    return names, bytes(cursor.data[start : cursor.at])

def shape_bytes(names):
    return varint(len(names)) + b"".join(slice_of(name) for name in names)
def canonical(cells):
    """The canonical bytes of tags and bytes of cells."""
    out = b"".join(bytes([tag]) + slice_of(data) for tag, data in cells[:-1])
    return out + (bytes([cells[-1][0]]) + cells[-1][1] if cells else b"")

def cells_of(names, value):
    cursor, cells = Cursor(value), []
    for n in range(len(names)):
        tag = cursor.u8()
        cells.append((names[n], tag, cursor.slice() if n + 1 < len(names) else cursor.rest()))
    cursor.done()
    return cells

def fingerprint(key, names, row, value):
    data = hash32(shape_bytes(names))[:16] + row.user_key_bytes() + value
    return HighwayHash(key).finish128(data)[:12]

def column(cursor, run, read, count):
    """A column: one value for all entries, or a run of its own."""
    if cursor.u8() == 0:
        value = cursor.varint()
        need(not run, "a run beside a constant")
        return [value] * count
    entries = Cursor(run)
    values = [read(entries) for _ in range(count)]
    entries.done()
    return values

def read_keys(runs):
    need(len(runs) == 13, "a keys chunk has 13 runs")
    head, lengths, own = Cursor(runs[0]), Cursor(runs[1]), Cursor(runs[2])
    need(head.u8() == 1, "a keys chunk of another version")
    count, live = head.varint(), head.varint()
    need(1 <= count <= 65_536 and live <= count, "too many rows")
    kinds = column(head, runs[3], Cursor.u8, count)
    need(max(kinds) <= 3 and sum(it != TOMBSTONE for it in kinds) == live, "kinds of rows")
    sets = [head.slice() for _ in range(head.varint())]
    set_of = column(head, runs[4], Cursor.varint, live)
    generations = column(head, runs[5], Cursor.varint, live)
    varying, expiries = head.data[head.at], column(head, runs[6], Cursor.varint, live)
    if varying:
        expiries = [it & M64 for it in accumulate((z >> 1) ^ -(z & 1) for z in expiries)]
    stamps = column(head, runs[7], lambda it: it.number(8), live)
    user_keys = [None] * live
    if head.u8():
        user_lengths, user_bytes = Cursor(runs[8]), Cursor(runs[9])
        for n in range(live):
            length = user_lengths.varint()
            user_keys[n] = user_bytes.take(length - 1) if length else None
        user_lengths.done(), user_bytes.done()
    else:
        need(not runs[8] and not runs[9], "user keys of nobody")
    prints, values = Cursor(runs[10]), column(head, runs[11], Cursor.varint, live)
    shapes = [read_shape(head)[0] for _ in range(head.varint())]
    head.done()
    pieces, rows, key, at = Cursor(runs[12]), [], None, 0
    for kind in kinds:
        shared, rest = lengths.varint(), own.take(lengths.varint())
        need(shared <= len(key or b""), "a key shares more than there is")
        new = (key or b"")[:shared] + rest
        need(key is None or (new > key and rest and (shared == len(key) or key[shared] != rest[0])), "keys do not ascend")
        key = new
        row = Row(key, kind)
        if kind != TOMBSTONE:
            row.set, row.generation, row.expiry, row.stamp = sets[set_of[at]], generations[at], expiries[at], stamps[at]
            row.user_key, row.fingerprint, row.length = user_keys[at], prints.take(12), values[at]
            at += 1
        if kind == PIECES:
            row.shape, row.pieces = shapes[pieces.varint()], pieces.slice()
        rows.append(row)
    lengths.done(), own.done(), prints.done(), pieces.done()
    return rows

def version_key(key, time, order):
    """What stands in a journal in the place of a key: journals.md."""
    tail = (M64 - time).to_bytes(8, "big") + (M64 - order).to_bytes(8, "big")
    return key.replace(b"\0", b"\0\xff") + b"\0\0" + tail

def read_version_key(data):
    """Key, time and order."""
    need(len(data) >= 18 and data[-18:-16] == b"\0\0", "a version key without an end")
    key = data[:-18].replace(b"\0\xff", b"\0")
    time, order = (M64 - int.from_bytes(part, "big") for part in (data[-16:-8], data[-8:]))
    need(time < 1 << 63 and version_key(key, time, order) == data, "no version key")
    return key, time, order

def read_values(runs):
    """The shape and the canonical bytes of each value in place."""
    head = Cursor(runs[0])
    need(head.u8() == 1, "a values chunk of another version")
    count = head.varint()
    shapes = [read_shape(head)[0] for _ in range(head.varint())]
    columns = []
    for _ in range(head.varint()):
        name = head.slice()
        tag = head.u8() if head.u8() == 0 else None
        columns.append((name, tag, head.varint() if head.u8() == 0 else None))
    head.done()
    need(len(columns) <= 64 and len(runs) == 2 + 3 * len(columns) + 3, "columns and runs differ")
    which = Cursor(runs[1])
    shape_of = [shapes[which.varint() if len(shapes) > 1 else 0] for _ in range(count)]
    which.done()
    used = Counter(name for shape in shape_of for name in shape)
    named = sorted(sorted(used, key=lambda name: (-used[name], name))[:64])
    need(named == [it[0] for it in columns], "not the columns that the values have")
    streams = {}
    for c, (name, tag, length) in enumerate(columns):
        tags, lengths, data = runs[2 + 3 * c : 5 + 3 * c]
        cells = used[name]
        tags = [tag] * cells if tag is not None else list(tags)
        cursor = Cursor(lengths)
        sizes = [length] * cells if length is not None else [cursor.varint() for _ in range(cells)]
        cursor.done()
        need(len(tags) == cells and len(data) == sum(sizes), "cells of a column")
        if length == 8:
            data = bytes(data[b * cells + n] for n in range(cells) for b in range(8))
        streams[name] = (iter(tags), iter(sizes), Cursor(data))
    rest_tags, rest_lengths, rest_data = iter(runs[-3]), Cursor(runs[-2]), Cursor(runs[-1])
    values = []
    for shape in shape_of:
        cells = []
        for name in shape:
            if name in streams:
                tags, sizes, data = streams[name]
                cells.append((next(tags), data.take(next(sizes))))
            else:
                cells.append((next(rest_tags), rest_data.take(rest_lengths.varint())))
        values.append((shape, canonical(cells)))
    rest_lengths.done(), rest_data.done()
    return values

class Cut:
    """Where blocks and lists end."""
    def __init__(self, key):
        self.key, self.n = key, 0
    def ends_after(self, key, length):
        self.n += length
        h = int.from_bytes(keyed(self.key, key)[:8], "little")
        return self.n >= MIB or (self.n >= 32 * KIB and h < min(M64, length * (self.n - 32 * KIB) << 29))

GEAR = [int.from_bytes(hashlib.md5(bytes([n]) * 64).digest()[:8], "big") for n in range(256)]

def fast_cdc(data, seed, smallest=256 * KIB, average=MIB, largest=4 * MIB, strict=0xD91767537000, loose=0xD91707537000):
    """The lengths of the pieces of a value."""
    lengths, start, size = [], 0, len(data)
    while start < size:
        left = size - start
        normal, end, cut = min(average, left), min(largest, left), None
        if left <= smallest:
            end = cut = left
        hash_, at = 0, smallest // 2 * 2
        while cut is None and at < end // 2 * 2:
            mask = strict if at < normal // 2 * 2 else loose
            hash_ = ((hash_ << 2) + (GEAR[data[start + at]] << 1 & M64 ^ seed << 1 & M64)) & M64
            if hash_ & (mask << 1) == 0:
                cut = at
                break
            hash_ = (hash_ + (GEAR[data[start + at + 1]] ^ seed)) & M64
            if hash_ & mask == 0:
                cut = at + 1
                break
            at += 2
        lengths.append(end if cut is None else cut)
        start += lengths[-1]
    return lengths

class Layers:
    """Reads layers of a repository; what was read is kept."""
    def __init__(self, repository):
        self.repository, self.known, self.block_ends = repository, {}, []
    def layer(self, ref):
        if ref["id"] not in self.known:
            rows = self.rows(bytes.fromhex(ref["id"]), True)
            need(len(rows) == ref["rows"], "a layer of another number of rows")
            need(sum(self.bytes_of(row) for row in rows) == ref["bytes"], "a layer of another number of bytes")
            self.known[ref["id"]] = {row.key: row for row in rows}
        return self.known[ref["id"]]
    @staticmethod
    def bytes_of(row):
        return len(row.key_row()) + (row.length if row.kind in (IN_PLACE, PIECES) else 0)
    def rows(self, chunk, root):
        """The rows under a list chunk."""
        header, entries, ids = (Cursor(run) for run in self.repository.chunk(chunk, LIST))
        need(header.u8() == 1, "a list of another version")
        count = header.varint()
        need(header.u8() == root, "a root that is none, or a root inside")
        starts = []
        if root:
            need(header.slice() == FINGERPRINTS, "fingerprints that are not known")
            starts = [header.slice() for _ in range(header.varint())]
            totals = (header.varint(), header.varint())
        header.done()
        rows, key, journal = [], None, None
        for _ in range(count):
            flags = entries.u8()
            shared, own = entries.varint(), entries.slice()
            new = (key or b"")[:shared] + own
            need(key is None or new > key, "keys of a list do not ascend")
            key = new
            said = (entries.varint(), entries.varint(), entries.varint())
            below, values = ids.take(32), ids.take(32) if flags & 2 else None
            journal = flags & 8 if journal is None else journal
            need(flags & 8 == journal, "versions and other rows in one list")
            found = self.rows(below, False) if flags & 1 else self.block(below, values, flags)
            live = sum(row.kind != TOMBSTONE for row in found)
            need((found[0].key, len(found), live) == (key, said[0], said[1]), "an entry of a list says other things")
            need(sum(map(self.bytes_of, found)) == said[2], "an entry of a list says other bytes")
            rows += found
        entries.done(), ids.done()
        if root:
            need(totals == (len(rows), sum(map(self.bytes_of, rows))), "a root says other totals")
            self.check_cuts(rows, starts)
        return rows
    def block(self, chunk, values, flags):
        rows = read_keys(self.repository.chunk(chunk, VERSIONS if flags & 8 else KEYS))
        if flags & 8:
            need(all(row.kind != INHERITED for row in rows), "a journal inherits")
            for row in rows:
                read_version_key(row.key)
        in_place = [row for row in rows if row.kind == IN_PLACE]
        need(bool(flags & 4) == any(row.kind == PIECES for row in rows), "a flag of a list")
        need(bool(values) == bool(in_place), "a values chunk of nobody")
        found = read_values(self.repository.chunk(values, VALUES)) if values else []
        need(len(found) == len(in_place), "values and rows differ")
        for row, (shape, value) in zip(in_place, found):
            row.shape, row.value = shape, value
        for row in rows:
            if row.kind == PIECES:
                row.value = self.pieces(row.pieces, row.length)
            if row.value is not None:
                need(len(row.value) == row.length, "a value of another length")
                need((row.length > 128 * KIB) == (row.kind == PIECES), "in place and in pieces")
                print_ = fingerprint(self.repository.fingerprint_key, row.shape, row, row.value)
                need(print_ == row.fingerprint, f"the fingerprint of {row.key.hex()}")
        self.block_ends.append(rows[-1].key)
        return rows
    def check_cuts(self, rows, starts):
        """Whether blocks end where the rule says."""
        ends, expected, cut, starts = set(self.block_ends), set(), Cut(self.repository.cut_key), list(starts)
        self.block_ends, seen = [], [{}, {}]
        for n, row in enumerate(rows):
            length = len(row.key_row()) + {IN_PLACE: row.length, PIECES: len(row.pieces or b"")}.get(row.kind, 0)
            if row.shape is not None:
                seen[row.kind == PIECES][row.shape] = len(shape_bytes(row.shape))
            ended = cut.ends_after(row.key, length) or any(sum(it.values()) >= MIB for it in seen)
            while n + 1 < len(rows) and starts and starts[0] <= row.key:
                starts.pop(0)
            if n + 1 == len(rows) or (starts and starts[0] <= rows[n + 1].key) or ended:
                expected.add(row.key)
                cut, seen = Cut(self.repository.cut_key), [{}, {}]
        need(ends == expected, "blocks do not end where the rule says")
    def pieces(self, data, length, depth=None):
        """The bytes under a piece list."""
        cursor, out, found = Cursor(data), [], []
        level, count = cursor.u8(), cursor.varint()
        need(level <= 5 and (depth is None or level == depth) and 1 <= count <= 1024, "a list of pieces")
        for _ in range(count):
            chunk, size = cursor.take(32), cursor.varint()
            if level == 0:
                below = self.repository.chunk(chunk, PIECE)[0]
            else:
                below = self.pieces(self.repository.chunk(chunk, PIECE_LIST)[0], size, level - 1)
            need(len(below) == size >= 1, "a piece of another length")
            out.append(below), found.append(size)
        cursor.done()
        whole = b"".join(out)
        need(len(whole) == length, "pieces of another length")
        if level == 0 and depth is None:
            need(fast_cdc(whole, self.repository.gear_seed) == found, "pieces are not cut where the rule says")
        return whole
    @staticmethod
    def seen(versions, time):
        """A journal seen at a time: of each record the newest version that is not after it."""
        newest = {}
        for row in versions.values():
            key, made, order = read_version_key(row.key)
            if made <= time and (key not in newest or newest[key][0] < (made, order)):
                newest[key] = ((made, order), row)
        return {key: replace(row, key=key) for key, (_, row) in newest.items()}
    def versions(self, stack):
        """Key, time, order and value (none of a deletion) of every version in the journals at the end of a stack."""
        rows = {}
        for ref in stack:
            rows = {**rows, **self.layer(ref)} if ref.get("journal") else {}
        return sorted((*read_version_key(row.key), row.value) for row in rows.values())
    def state(self, stack, time):
        """The records of a stack that are live at a time, in the order of their keys."""
        layers, stream = [], False
        for ref in stack:
            layer, journal = self.layer(ref), ref.get("journal", False)
            if not journal:
                layers.append(layer)
            else:
                # Adjacent journals are one stream: of all their versions the newest counts.
                together = {**(stream or {}), **layer}
                layers[len(layers) - bool(stream):] = [self.seen(together, time)]
                layer = together
            stream = layer if journal else None
        need(all(row.kind in (IN_PLACE, PIECES) for row in layers[0].values()) if stack and not stack[0].get("journal") else True, "a base has such rows")
        for key in sorted(set().union(*layers)):
            versions = [layer[key] for layer in reversed(layers) if key in layer]
            row = versions[0]
            holder = next((it for it in versions if it.kind != INHERITED), None)
            need(holder is not None and (row.kind != INHERITED or holder.kind != TOMBSTONE), "nothing is inherited")
            if row.kind != TOMBSTONE and not row.is_over(time):
                need(row.kind != INHERITED or row.length == holder.length, "another length is inherited")
                if row.kind == INHERITED:
                    print_ = fingerprint(self.repository.fingerprint_key, holder.shape, row, holder.value)
                    need(print_ == row.fingerprint, "the fingerprint of what is inherited")
                yield row, holder.shape, holder.value
    def sum(self, rows):
        hashes = (keyed(self.repository.collection_key, row.key_row()) for row in rows)
        total = sum(int.from_bytes(hashed, "little") for hashed in hashes)
        return (total % (1 << 256)).to_bytes(32, "little").hex()
