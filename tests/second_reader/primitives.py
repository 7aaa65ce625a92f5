"""Primitives of format-spec/repository.md and records.md: integers, hashes, ciphers, signatures."""

import hashlib
import struct

import blake3
import nacl.bindings
import nacl.exceptions
import nacl.signing
import zstandard
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

M64 = (1 << 64) - 1

class Damaged(Exception):
    """Bytes that are not what the format says."""

class Unknown(Exception):
    """Something that a newer program may know."""

def need(condition, words):
    if not condition:
        raise Damaged(words)

class Cursor:
    """Reads bytes front to back."""
    def __init__(self, data):
        self.data, self.at = data, 0
    def take(self, n):
        need(n <= len(self.data) - self.at, "bytes are missing")
        self.at += n
        return self.data[self.at - n : self.at]
    def u8(self):
        return self.take(1)[0]
    def number(self, n):
        return int.from_bytes(self.take(n), "little")
    def varint(self):
        value = 0
        for n in range(10):
            byte = self.u8()
            value |= (byte & 0x7F) << (7 * n)
            if byte < 0x80:
                need(n == 0 or byte != 0, "an integer is not in its shortest form")
                need(value <= M64, "an integer is over 64 bits")
                return value
        raise Damaged("an integer is over ten bytes")
    def slice(self):
        return self.take(self.varint())
    def rest(self):
        return self.take(len(self.data) - self.at)
    def done(self):
        need(self.at == len(self.data), "bytes are left over")

def varint(value):
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)

def slice_of(data):
    return varint(len(data)) + data

u16, u32, u64, i64 = (lambda n, form=form: struct.pack(form, n) for form in ("<H", "<I", "<Q", "<q"))

def hash32(data):
    return blake3.blake3(data).digest()
def keyed(key, data):
    return blake3.blake3(data, key=key).digest()

def derive(what, material):
    return blake3.blake3(material, derive_key_context="rekeep 2026-11 v1 " + what).digest()
def decompress(data, length):
    """One Zstandard frame without a dictionary that holds exactly this many bytes."""
    engine = zstandard.ZstdDecompressor().decompressobj()
    try:
        plain = engine.decompress(data)
    except zstandard.ZstdError as error:
        raise Damaged(f"not a Zstandard frame: {error}") from error
    need(engine.eof and not engine.unused_data, "not one Zstandard frame")
    need(len(plain) == length, "another length than declared")
    return plain

def compressed(data):
    cursor = Cursor(data)
    length = cursor.number(4)
    need(length <= 268_435_456, "declared longer than anything may be")
    return decompress(cursor.rest(), length)

def _xaes_key(key, nonce):
    block = Cipher(algorithms.AES256(key), modes.ECB()).encryptor()
    one = int.from_bytes(block.update(bytes(16)), "big")
    k1 = ((one << 1) & ((1 << 128) - 1) ^ (0x87 if one >> 127 else 0)).to_bytes(16, "big")
    halves = []
    for counter in (1, 2):
        m = bytes([0, counter]) + b"X\0" + nonce[:12]
        halves.append(block.update(bytes(a ^ b for a, b in zip(m, k1))))
    return b"".join(halves)

def open_x(suite, key, nonce, ad, sealed):
    try:
        if suite == 1:
            return nacl.bindings.crypto_aead_xchacha20poly1305_ietf_decrypt(bytes(sealed), ad, nonce, key)
        if suite == 2:
            return AESGCM(_xaes_key(key, nonce)).decrypt(nonce[12:], sealed, ad)
    except (InvalidTag, ValueError, nacl.exceptions.CryptoError) as error:
        raise Damaged("it does not open") from error
    raise Unknown(f"suite {suite}")

def open_c(suite, key, nonce, ad, sealed):
    cipher = {1: ChaCha20Poly1305, 2: AESGCM}.get(suite)
    if cipher is None:
        raise Unknown(f"suite {suite}")
    try:
        return cipher(key).decrypt(nonce, sealed, ad)
    except (InvalidTag, ValueError) as error:
        raise Damaged("it does not open") from error

def xwing_open(seed, ciphertext):
    """The shared key of X-Wing's decapsulation."""
    expanded = hashlib.shake_256(seed).digest(96)
    kem, dh = MLKEM768PrivateKey.from_seed_bytes(expanded[:64]), X25519PrivateKey.from_private_bytes(expanded[64:])
    public = dh.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    ss_m = kem.decapsulate(ciphertext[:1088])
    ss_x = dh.exchange(X25519PublicKey.from_public_bytes(ciphertext[1088:]))
    return hashlib.sha3_256(ss_m + ss_x + ciphertext[1088:] + public + b"\\.//^\\").digest()

def public_of(seed):
    return bytes(nacl.signing.SigningKey(seed).verify_key)
def is_signed(public, message, signature):
    """libsodium's check: points of small order and encodings that are not canonical are refused."""
    try:
        return bool(nacl.signing.VerifyKey(public).verify(message, signature))
    except (nacl.exceptions.BadSignatureError, ValueError):
        return False

class HighwayHash:
    """HighwayHash under a key of four 64-bit words."""

    INIT0 = (0xDBE6D5D5FE4CCE2F, 0xA4093822299F31D0, 0x13198A2E03707344, 0x243F6A8885A308D3)
    INIT1 = (0x3BD39E10CB0EF593, 0xC0ACF169B5F18A8C, 0xBE5466CF34E90C6C, 0x452821E638D01377)
    def __init__(self, key):
        words = struct.unpack("<4Q", key)
        self.mul0, self.mul1 = list(self.INIT0), list(self.INIT1)
        self.v0 = [a ^ b for a, b in zip(self.INIT0, words)]
        self.v1 = [a ^ self._swap(b) for a, b in zip(self.INIT1, words)]
    @staticmethod
    def _swap(x):
        return (x >> 32) | (x << 32) & M64
    @staticmethod
    def _zipper(hi, lo):
        """Two words of 64 bits mixed byte by byte: what is added to the lower and the higher of a pair."""
        a, b = lo.to_bytes(8, "little"), hi.to_bytes(8, "little")
        low = bytes((a[3], b[4], a[2], a[5], b[6], a[1], b[7], a[0]))
        high = bytes((b[3], a[4], b[2], b[5], b[1], a[6], b[0], a[7]))
        return int.from_bytes(low, "little"), int.from_bytes(high, "little")
    def update(self, lanes):
        v0, v1, mul0, mul1 = self.v0, self.v1, self.mul0, self.mul1
        for i in range(4):
            v1[i] = (v1[i] + mul0[i] + lanes[i]) & M64
            mul0[i] ^= (v1[i] & 0xFFFFFFFF) * (v0[i] >> 32)
            v0[i] = (v0[i] + mul1[i]) & M64
            mul1[i] ^= (v0[i] & 0xFFFFFFFF) * (v1[i] >> 32)
        for source, to in ((v1, v0), (v0, v1)):
            for i in (0, 2):
                low, high = self._zipper(source[i + 1], source[i])
                to[i], to[i + 1] = (to[i] + low) & M64, (to[i + 1] + high) & M64
    def _remainder(self, rest):
        size, four = len(rest), len(rest) & ~3
        self.v0 = [(x + (size << 32) + size) & M64 for x in self.v0]
        turned = []
        for x in self.v1:
            halves = [x & 0xFFFFFFFF, x >> 32]
            low, high = ((h << size | h >> (32 - size)) & 0xFFFFFFFF for h in halves)
            turned.append(low | high << 32)
        self.v1 = turned
        packet = bytearray(32)
        packet[:four] = rest[:four]
        if size & 16:
            packet[28:] = rest[-4:]
        elif size & 3:
            tail = rest[four:]
            packet[16:19] = bytes((tail[0], tail[len(tail) >> 1], tail[-1]))
        self.update(struct.unpack("<4Q", packet))
    def finish128(self, data):
        whole = len(data) & ~31
        for lanes in struct.iter_unpack("<4Q", memoryview(data)[:whole]):
            self.update(lanes)
        if whole < len(data):
            self._remainder(data[whole:])
        for _ in range(6):
            v0 = self.v0
            self.update([self._swap(v0[i]) for i in (2, 3, 0, 1)])
        v0, v1, mul0, mul1 = self.v0, self.v1, self.mul0, self.mul1
        first, second = ((v0[i] + mul0[i] + v1[i + 2] + mul1[i + 2]) & M64 for i in (0, 1))
        return u64(first) + u64(second)
