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

def need(condition, words, error=Damaged):
    if not condition:
        raise error(words)

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
        start, value, byte = self.at, 0, 0x80
        while byte >= 0x80:
            need(self.at - start < 10, "an integer is over ten bytes")
            byte = self.u8()
            value |= (byte & 0x7F) << (7 * (self.at - start - 1))
        need((byte != 0 or self.at - start == 1) and value <= M64, "an integer is not in its shortest form, or over 64 bits")
        return value
    def slice(self):
        return self.take(self.varint())
    def rest(self):
        return self.take(len(self.data) - self.at)
    def done(self):
        need(self.at == len(self.data), "bytes are left over")

def varint(value):
    return bytes([value]) if value < 0x80 else bytes([value & 0x7F | 0x80]) + varint(value >> 7)

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
    need(engine.eof and not engine.unused_data and len(plain) == length, "not one Zstandard frame, or another length")
    return plain

def compressed(data):
    cursor = Cursor(data)
    length = cursor.number(4)
    need(length <= 268_435_456, "declared longer than anything may be")
    return decompress(cursor.rest(), length)

def _xaes_key(key, nonce):
    block = Cipher(algorithms.AES256(key), modes.ECB()).encryptor()
    doubled = int.from_bytes(block.update(bytes(16)), "big") << 1
    k1 = doubled ^ (1 << 128 | 0x87) if doubled >> 128 else doubled
    blocks = (int.from_bytes(bytes([0, n]) + b"X\0" + nonce[:12], "big") ^ k1 for n in (1, 2))
    return b"".join(block.update(it.to_bytes(16, "big")) for it in blocks)

def opened(decrypt):
    try:
        return decrypt()
    except (InvalidTag, ValueError, nacl.exceptions.CryptoError) as error:
        raise Damaged("it does not open") from error

def open_x(suite, key, nonce, ad, sealed):
    if suite == 1:
        return opened(lambda: nacl.bindings.crypto_aead_xchacha20poly1305_ietf_decrypt(bytes(sealed), ad, nonce, key))
    return open_c(suite, _xaes_key(key, nonce), nonce[12:], ad, sealed)

def open_c(suite, key, nonce, ad, sealed):
    need(suite in (1, 2), f"suite {suite}", Unknown)
    cipher = ChaCha20Poly1305 if suite == 1 else AESGCM
    return opened(lambda: cipher(key).decrypt(nonce, sealed, ad))

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

INIT0 = (0xDBE6D5D5FE4CCE2F, 0xA4093822299F31D0, 0x13198A2E03707344, 0x243F6A8885A308D3)
INIT1 = (0x3BD39E10CB0EF593, 0xC0ACF169B5F18A8C, 0xBE5466CF34E90C6C, 0x452821E638D01377)
# Which bytes of a pair of words are added to the other pair.
ZIPPER = (3, 12, 2, 5, 14, 1, 15, 0, 11, 4, 10, 13, 9, 6, 8, 7)

def highway128(key, data):
    """HighwayHash of 128 bits under a key of 32 bytes."""
    swap = lambda x: (x >> 32) | (x << 32) & M64
    words, mul0, mul1 = struct.unpack("<4Q", key), list(INIT0), list(INIT1)
    v0, v1 = [a ^ b for a, b in zip(INIT0, words)], [a ^ swap(b) for a, b in zip(INIT1, words)]
    def update(lanes):
        for i in range(4):
            v1[i] = (v1[i] + mul0[i] + lanes[i]) & M64
            mul0[i] ^= (v1[i] & 0xFFFFFFFF) * (v0[i] >> 32)
            v0[i] = (v0[i] + mul1[i]) & M64
            mul1[i] ^= (v0[i] & 0xFFFFFFFF) * (v1[i] >> 32)
        for source, to in ((v1, v0), (v0, v1)):
            for i in (0, 2):
                pair = struct.pack("<2Q", *source[i : i + 2])
                low, high = struct.unpack("<2Q", bytes(pair[n] for n in ZIPPER))
                to[i], to[i + 1] = (to[i] + low) & M64, (to[i + 1] + high) & M64
    whole = len(data) & ~31
    for lanes in struct.iter_unpack("<4Q", memoryview(data)[:whole]):
        update(lanes)
    if rest := bytes(data[whole:]):
        size, four = len(rest), len(rest) & ~3
        turn = lambda half: (half << size | half >> (32 - size)) & 0xFFFFFFFF
        v0[:] = [(x + (size << 32) + size) & M64 for x in v0]
        v1[:] = [turn(x & 0xFFFFFFFF) | turn(x >> 32) << 32 for x in v1]
        packet, tail = bytearray(rest[:four].ljust(32, b"\0")), rest[four:]
        if size & 16:
            packet[28:] = rest[-4:]
        elif tail:
            packet[16:19] = bytes((tail[0], tail[len(tail) >> 1], tail[-1]))
        update(struct.unpack("<4Q", packet))
    for _ in range(6):
        update([swap(v0[i]) for i in (2, 3, 0, 1)])
    return b"".join(u64((v0[i] + mul0[i] + v1[i + 2] + mul1[i + 2]) & M64) for i in (0, 1))
