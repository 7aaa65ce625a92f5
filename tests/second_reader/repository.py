"""The objects of a repository on a local file system: format-spec/repository.md, and of protocol.md what a reader needs."""

import base64
import json
import os
import re
import time
from contextlib import suppress

import argon2.low_level
from primitives import Cursor, Damaged, Unknown, compressed, decompress, derive, hash32, i64, is_signed, keyed, need
from primitives import open_c, open_x, public_of, u16, u32, u64, varint, xwing_open

HEX16, HEX32, NUMBER = r"[0-9a-f]{32}", r"[0-9a-f]{64}", r"(?:0|[1-9][0-9]*)"
SNAPSHOT, CHECKPOINT, LEASE, MARK, END, VOID, TOMBSTONE, PROMISES, DAMAGE, FORGOTTEN = range(1, 11)
CLAIM, AUDIT, DRILL, SETTINGS = 12, 13, 14, 16
SEALED = {SNAPSHOT, CHECKPOINT, AUDIT, DRILL}
NAMES = {
    SNAPSHOT: f"snapshots/{HEX16}/{NUMBER}", CHECKPOINT: f"checkpoints/{HEX16}/{NUMBER}",
    LEASE: f"leases/{HEX16}/{NUMBER}", MARK: f"trash/{HEX16}", END: f"leases/{HEX16}/end",
    VOID: f"snapshots/{HEX16}/0", TOMBSTONE: f"snapshots/{HEX16}/[1-9][0-9]*",
    PROMISES: f"promises/{HEX16}/{NUMBER}", DAMAGE: f"damage/{HEX32}", FORGOTTEN: f"forgotten/{HEX16}",
    CLAIM: f"claims/{HEX16}/{NUMBER}", AUDIT: f"audit/{HEX16}/{NUMBER}", DRILL: f"drills/{HEX16}/{NUMBER}",
    SETTINGS: f"settings/{NUMBER}",
}
READER, WRITER, OPERATOR = 1, 2, 3
MIB = 1 << 20
LIMITS = {"snapshots": 32 * MIB, "checkpoints": 64 * MIB, "packs": 256 * MIB, "index": 256 * MIB,
          "rekeep.json": MIB, "keys": MIB, "copies": MIB}

def version(data, magic, name):
    need(data[:8] == magic and len(data) >= 60 and data[8:10] != u16(0), f"{name} is no such object")
    need(data[8:10] == u16(1), f"{name} was written by a newer program", Unknown)

def known(chunk_kind, pack_kind):
    need(1 <= chunk_kind <= 7, f"chunk kind {chunk_kind}", Unknown)
    need(chunk_kind in {2: (2, 4), 1: (1, 3, 5, 6, 7)}[pack_kind], "a chunk in the wrong kind of pack")

class Forged(Damaged):
    """Whole, and made by nobody who may make it."""

def string(data):
    return u32(len(data)) + data if isinstance(data, bytes) else string(data.encode())

def once(pairs):
    need(len(dict(pairs)) == len(pairs), "a member twice")
    return dict(pairs)

def two_lines(data):
    end = data.index(b"\n") + 1 if b"\n" in data else 0
    need(data[end:] == b'"' + hash32(data[:end]).hex().encode() + b'"\n', "its second line is not the hash of the first")
    return json.loads(data[:end], object_pairs_hook=once)

def base64_of(text, limit=MIB):
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError as problem:
        raise Damaged("no base64") from problem
    need(len(data) <= limit, "beyond its limit")
    return data

def recovery_key(text):
    """The 32 bytes of a recovery key that was typed."""
    text = text.upper().replace(" ", "").replace("-", "").translate(str.maketrans("018", "OIB"))
    need(len(text) == 56, "a recovery key has 56 characters")
    data = base64.b32decode(text)
    need(hash32(b"rekeep recovery key" + data[:32])[:3] == data[32:], "a typing error")
    return data[:32]

class Epoch:
    """The keys of one epoch that a slot holds; None where it lacks one."""
    def __init__(self, held):
        held = {name: bytes.fromhex(text) for name, text in held.items()}
        root = held.get("root")
        secret = lambda name: derive(name, root) if root else held.get(name)
        self.metadata, self.values = secret("metadata"), secret("values")
        self.of_metadata = lambda what: derive(what, self.metadata)
        public = lambda name: public_of(secret(name)) if secret(name) else held[name + "_public"]
        self.publics = {READER: public_of(derive("reader", self.metadata)), WRITER: public("writer"),
                        OPERATOR: public("operator")}

class Repository:
    def __init__(self, root, password=None, recovery=None):
        self.root = root
        self.config = two_lines(self.twice("rekeep.json"))
        features = [it for it in self.config["features"] if not it.startswith(("check:", "write:"))]
        need(self.config["format"] == 1 and not features, "another format, or features")
        self.id = bytes.fromhex(self.config["id"])
        self.epochs = self.open_slots(password, recovery and recovery_key(recovery))
        self.open_config()
        self.index, self.packs = {}, {}
        for name in self.listed("index"):
            self.open_index(name)
    def listed(self, folder):
        places = os.walk(os.path.join(self.root, folder))
        return sorted(os.path.relpath(os.path.join(it[0], file), self.root) for it in places for file in it[2])
    def read(self, name):
        path = os.path.join(self.root, name)
        limit = LIMITS.get(name.split("/")[0], 4 * MIB)
        need(os.path.getsize(path) <= limit, f"{name} is longer than any such object")
        with open(path, "rb") as file:
            return file.read()
    def twice(self, name):
        """An object that is kept twice."""
        for place in (name, "copies/" + name):
            with suppress(OSError, Damaged):
                data = self.read(place)
                two_lines(data)
                return data
        raise Damaged(f"{name} is damaged or missing, and its copy too")
    def open_slots(self, password, recovery):
        wanted, slots = "password" if password is not None else "recovery", []
        for name in sorted({it.removeprefix("copies/") for folder in ("keys", "copies/keys") for it in self.listed(folder)}):
            with suppress(Damaged, Unknown):
                slot = self.slot(self.twice(name))
                if slot["kind"] == wanted:
                    slots.append((slot["kdf"].get("memory_kib", 0) * slot["kdf"].get("passes", 0), name, slot))
        for _, name, slot in sorted(slots, key=lambda it: it[:2]):
            with suppress(Damaged):
                return self.open_slot(name, slot, password, recovery)
        raise Damaged("no slot opens")
    def slot(self, data):
        """What a slot says, checked as far as it can be without a secret."""
        slot = two_lines(data)
        need(slot.get("format") == 1, "another format", Unknown if slot.get("format", 0) > 1 else Damaged)
        kdfs = {"password": "argon2id memory_kib passes lanes salt", "recovery": "blake3 salt", "external": "external provider key"}
        need(slot.get("kind") in kdfs, f"slot kind {slot.get('kind')}", Unknown)
        need(set(slot) == set("format repository kind role label created suite kdf wrapped".split()), "other members")
        (kdf, *members), said = kdfs[slot["kind"]].split(), slot["kdf"]
        need(said["name"] == kdf and set(said) == {"name", *members}, "another origin of its key")
        need(slot["role"] in ("admin", "operator", "read-only", "put-only"), f"role {slot['role']}", Unknown)
        need(slot["suite"] in (1, 2), f"suite {slot['suite']}", Unknown)
        need(slot["repository"] == self.id.hex(), "not of this repository")
        need(len(base64_of(said.get("salt", "A" * 22 + "=="))) == 16, "another salt")
        base64_of(slot["wrapped"]), base64_of(said.get("key", ""), 16_384)
        memory, passes, lanes = (said.get(field, default) for field, default in (("memory_kib", 8), ("passes", 1), ("lanes", 1)))
        need(8 * lanes <= memory <= 1_048_576 and memory * passes <= 4_194_304, "memory beyond its limits")
        need(1 <= passes <= 64 and 1 <= lanes <= 16, "passes or lanes beyond their limits")
        return slot
    def open_slot(self, name, slot, password=None, recovery=None, external=None):
        """The epochs in a slot. `external` is a provider's name, what it made of a slot's key, and the key."""
        kdf = slot["kdf"]
        salt = base64_of(kdf["salt"]) if "salt" in kdf else bytes(16)
        memory, passes, lanes = (kdf.get(field, 0) for field in ("memory_kib", "passes", "lanes"))
        provider, given = kdf.get("provider", ""), base64_of(kdf.get("key", ""))
        if slot["kind"] == "password" and password is not None:
            kind = argon2.low_level.Type.ID
            key = argon2.low_level.hash_secret_raw(password.encode(), salt, passes, memory, lanes, 32, kind, 0x13)
        elif slot["kind"] == "recovery" and recovery is not None:
            key = derive("recovery slot", recovery + salt)
        else:
            need(slot["kind"] == "external" and external and external[:2] == (provider, given), "a secret for other slots")
            key = external[2]
            need(len(key) == 32, "a key of another length")
        ad = b"".join((
            u32(1), self.id, bytes.fromhex(name.split("/")[1]), string(slot["kind"]), string(slot["role"]),
            string(slot["label"]), i64(slot["created"]), bytes([slot["suite"]]), string(kdf["name"]), u32(memory),
            u32(passes), u32(lanes), salt, string(provider), string(given),
        ))
        wrapped = base64_of(slot["wrapped"])
        need(len(wrapped) >= 40, "too short to be sealed")
        keyring = json.loads(open_x(slot["suite"], key, wrapped[:24], ad, wrapped[24:]))
        self.role = slot["role"]
        return {int(epoch): Epoch(held) for epoch, held in keyring["epochs"].items()}
    def open_config(self):
        config, first = self.config, self.epochs[0]
        secrets = base64.b64decode(config["secrets"], validate=True)
        fields = u32(1) + self.id + i64(config["created"]) + bytes([config["suite"]]) + u32(len(config["features"]))
        fields += b"".join(string(feature) for feature in config["features"]) + string(secrets)
        need(keyed(first.of_metadata("config check"), fields).hex() == config["check"], "rekeep.json was altered")
        key = first.of_metadata("lasting secrets")
        plain = open_x(config["suite"], key, secrets[:24], u32(1) + self.id, secrets[24:])
        need(len(plain) == 136, "not 136 bytes of secrets")
        self.chunk_key, self.fingerprint_key, self.collection_key, self.cut_key = (plain[n : n + 32] for n in range(0, 128, 32))
        self.gear_seed = int.from_bytes(plain[128:], "little")
    def epoch(self, number):
        need(number in self.epochs, f"sealed under epoch {number}, which the slot does not hold")
        return self.epochs[number]
    def small(self, name):
        """Kind and content of a small object that somebody made who may."""
        data = self.read(name)
        need(len(data) >= 240 and hash32(data[:-32]) == data[-32:], f"{name} is damaged")
        version(data, b"RKEEPOBJ", name)
        kind, suite, epoch = data[10], data[11], int.from_bytes(data[12:16], "little")
        need(kind in NAMES, f"{name}: kind {kind}", Unknown)
        need((suite != 0) == (kind in SEALED) and re.fullmatch(NAMES[kind], name), f"{name}: another kind, or form")
        self.check_author(name, kind, epoch, data[:-32])
        body = data[40:-200]
        if suite:
            ad = u16(1) + self.id + bytes([kind]) + u32(epoch) + name.encode()
            content = compressed(open_x(suite, self.epoch(epoch).of_metadata("small objects"), data[16:40], ad, body))
        else:
            need(data[16:40] == bytes(24), f"{name}: a nonce where nothing is sealed")
            cursor = Cursor(body)
            need(cursor.take(cursor.number(2)) == name.encode(), f"{name} says another name")
            content = cursor.rest()
        if kind == FORGOTTEN:
            need(len(content) % 16 == 0 and len(content) <= 3_200_000, f"{name}: not names")
            found = [content[n : n + 16].hex() for n in range(0, len(content), 16)]
            need(all(a < b for a, b in zip(found, found[1:])), f"{name}: names do not ascend")
            return kind, found
        content = json.loads(content)
        purpose, party = content.get("purpose", ""), data[-200]
        may = purpose.startswith("read") if kind == LEASE and party == READER else purpose != "prune" or party == OPERATOR
        need(may, f"{name}: its maker may not do that", Forged)
        return kind, content
    def looked(self, name):
        """Kind and content of a small object, or what is wrong with it."""
        try:
            return *self.small(name), None
        except Damaged as problem:
            return None, None, type(problem).__name__.lower()
    def check_author(self, name, kind, epoch, data):
        party, form, zero, public = data[-168], data[-167], data[-166:-160], data[-160:-128]
        certificate, signed, signature = data[-128:-64], data[:-64], data[-64:]
        of_lease = kind in (LEASE, END, CHECKPOINT, CLAIM, AUDIT) or (kind == SNAPSHOT and name.endswith("/0"))
        forms = {0, 1} if kind == VOID else {1} if of_lease else {0}
        need(zero == bytes(6), f"{name}: not zero where it should be")
        self.epoch(epoch)
        need(form in forms, f"{name}: in a form that it cannot have", Forged)
        message = derive("small object signature", self.id + string(name) + signed)
        publics = self.epochs[epoch].publics
        if form == 0:
            itself = party == OPERATOR and public + certificate == bytes(96) and is_signed(publics[OPERATOR], message, signature)
            return need(itself, f"{name} was not made by an operator", Forged)
        parties = {READER, WRITER, OPERATOR} if kind in (LEASE, END) else {WRITER, OPERATOR}
        certified = derive("lease certificate", self.id + u32(epoch) + bytes([party]) + public)
        named = kind == CLAIM or derive("lease name", public)[:16].hex() == name.split("/")[1]
        itself = party in parties and named
        itself = itself and is_signed(publics[party], certified, certificate) and is_signed(public, message, signature)
        need(itself, f"{name} was not made by its lease", Forged)
    @staticmethod
    def entries(cursor):
        return [(cursor.take(32), cursor.u8(), cursor.varint(), cursor.varint(), cursor.varint())
                for _ in range(cursor.varint())]
    def open_index(self, name):
        data = self.read(name)
        need(name == "index/" + hash32(data).hex(), f"{name} is damaged")
        version(data, b"RKEEPIDX", name)
        need(data[11] == 0 and data[16:32] == self.id, name)
        count = int.from_bytes(data[32:36], "little")
        head = data[: 60 + 40 * count]
        key = self.epoch(int.from_bytes(data[12:16], "little")).of_metadata("index objects")
        cursor = Cursor(compressed(open_x(data[10], key, data[36:60], head, data[len(head):])))
        for n in range(count):
            at = 60 + 40 * n
            pack, length = head[at : at + 32], int.from_bytes(head[at + 32 : at + 40], "little")
            kind, lease, header = cursor.u8(), cursor.take(16), cursor.slice()
            need((header[10], header[32:48]) == (kind, lease), f"{name}: a header says other things")
            need(header[48] == 3 or header[16:32] == self.id, f"{name}: a header of another repository")
            for number, (chunk, chunk_kind, offset, stored, plain) in enumerate(self.entries(cursor)):
                need(len(header) <= offset and offset + stored <= length, f"{name}: a frame outside of its pack")
                known(chunk_kind, kind)
                self.index.setdefault(chunk, []).append((pack, number, chunk_kind, offset, stored, plain))
        cursor.done()
    def pack(self, name):
        """A pack's bytes, header and key, checked as a whole."""
        if name not in self.packs:
            data = self.read(f"packs/{name.hex()[:2]}/{name.hex()}")
            need(hash32(data) == name and len(data) % 65_536 == 0, f"pack {name.hex()} is damaged")
            version(data, b"RKEEPPAK", name.hex())
            kind, suite, wrap, width = data[10], data[11], data[48], int.from_bytes(data[50:52], "little")
            need(kind in (1, 2), f"pack kind {kind}", Unknown)
            need(data[49] == 0 and data[52:64] == bytes(12), "a pack's header is not zero where it should be")
            epoch = self.epoch(int.from_bytes(data[12:16], "little"))
            need(wrap == 3 or data[16:32] == self.id, "no pack of this repository")
            ad = data[8:10] + data[16:32] + data[10:12] + data[12:16] + data[32:48] + bytes([wrap])
            wrapped = data[64 : 64 + width]
            need(wrap in (1, 2, 3), f"wrap {wrap}", Unknown)
            if wrap != 2:
                need(width == 72 or wrap == 3 and width == 1168, "a wrapped key of another length")
                need(not any(wrapped[72:]), "more than a wrapped key")
                if wrap == 3:
                    ad += self.id + data[50:52]
                    wrapped = wrapped[:72]
                key = epoch.of_metadata("metadata packs") if kind == 1 else derive("data packs", epoch.values)
                key = open_x(suite, key, wrapped[:24], ad, wrapped[24:])
            else:
                need(width == 1168 and kind == 2, "a wrapped key of another length")
                shared = xwing_open(derive("values capsules", epoch.values), wrapped[:1120])
                key = open_x(suite, shared, bytes(24), ad, wrapped[1120:])
            self.packs[name] = (data, key)
            self.check_directory(name, 64 + width)
        return self.packs[name]
    def frame(self, pack, offset, stored, ordinal, chunk):
        data, key = pack
        frame = data[offset : offset + stored]
        need(frame[:4] == b"RKFR" and frame[4:8] == u32(stored - 16) and frame[8:16] == u64(ordinal), "no such frame")
        ad = data[8:10] + data[16:32] + data[10:12] + u64(ordinal) + chunk
        return open_c(data[11], key, bytes(4) + u64(ordinal), ad, frame[16:])
    def check_directory(self, name, begin):
        data = self.packs[name][0]
        at, length = int.from_bytes(data[-32:-24], "little"), int.from_bytes(data[-24:-20], "little")
        need(data[-20:-8] == bytes(12) and data[-8:] == b"RKEEPEND", "a pack without its end")
        need(not any(data[at + length : -32]), "padding that is not zero")
        cursor = Cursor(self.frame(self.packs[name], at, length, (1 << 64) - 1, bytes(32)))
        for chunk, kind, offset, stored, _ in self.entries(cursor):
            need(offset == begin and stored >= 33 and chunk in self.index, "frames with gaps, or that no index object has")
            known(kind, data[10])
            begin += stored
        need(begin == at, "a gap before the directory")
        cursor.done()
    def chunk(self, chunk, kind):
        """The runs of a chunk, compared with its id."""
        need(chunk in self.index, f"chunk {chunk.hex()} is in no index object")
        pack, ordinal, found, offset, stored, plain = self.index[chunk][0]
        need(found == kind, f"chunk {chunk.hex()} is of kind {found}, not {kind}")
        cursor = Cursor(self.frame(self.pack(pack), offset, stored, ordinal, chunk))
        table = [(cursor.u8(), cursor.varint(), cursor.varint()) for _ in range(cursor.varint())]
        need(len(table) <= 512 and sum(it[2] for it in table) == plain <= 8 * MIB, "too many runs, or bytes")
        runs = []
        for method, length, size in table:
            data = cursor.take(length)
            need(method <= 1, f"run method {method}", Unknown)
            need(length < size if method else length == size, "a run of the wrong length")
            runs.append(decompress(data, size) if method else data)
        cursor.done()
        head = bytes([kind]) + varint(len(runs)) + b"".join(varint(len(run)) for run in runs)
        need(keyed(self.chunk_key, head + b"".join(runs)) == chunk, f"chunk {chunk.hex()} is not what its id says")
        return runs
    def manifests(self):
        """The revision of each snapshot that counts, and what became of every object under `snapshots/`."""
        gathered, said, objects = set(), {}, {}
        words = {SNAPSHOT: "revision", VOID: "void", TOMBSTONE: "tombstone"}
        for name in self.listed("snapshots"):
            if not re.fullmatch(NAMES[SNAPSHOT], name) or int(name.split("/")[2]) >= 1 << 63:
                said[name] = "foreign"
                continue
            kind, content, wrong = self.looked(name)
            said[name] = wrong or words.get(kind)
            _, snapshot, revision = name.split("/")
            objects.setdefault(snapshot, {})[int(revision)] = (kind, content)
        for name in self.listed("forgotten"):
            gathered.update(self.small(name)[1])
        counts = {it: self.counting(it, revisions, objects) for it, revisions in objects.items() if it not in gathered}
        return {it: self.whole(found) for it, found in counts.items() if found is not None}, said
    def counting(self, snapshot, revisions, objects):
        first = revisions.get(0, (None, None))
        if first[0] == VOID or (first[0] == SNAPSHOT and first[1].get("squash") == snapshot):
            return None
        for number, (kind, content) in revisions.items():
            if kind == TOMBSTONE:
                below = max((n for n in revisions if n < number and revisions[n][0] == SNAPSHOT), default=None)
                manifest = {} if below is None else revisions[below][1]
                lock = manifest.get("lock_until")
                if not manifest.get("hold") and not (lock is not None and lock > min(content["time"], time.time() * 1000)):
                    return None
        for number in sorted(revisions, reverse=True):
            kind, content = revisions[number]
            if kind == SNAPSHOT:
                need(set(content.get("features", [])) <= {"journal"}, f"features of snapshot {snapshot}", Unknown)
                lease = content.get("squash")
                commit = objects.get(lease, {}).get(0, (None, None))
                if lease is None or (commit[0] == SNAPSHOT and commit[1].get("squash") == lease):
                    return content
        return None
    def whole(self, manifest):
        """A manifest with its tables in place."""
        for place, name in ((manifest, "collections"), (manifest["content"], "attributes")):
            if ids := manifest.get(name + "_table"):
                need(len(ids) <= 64, "a table of too many pieces")
                place[name] = json.loads(b"".join(b"".join(self.chunk(bytes.fromhex(it), 6)) for it in ids))
        return manifest
