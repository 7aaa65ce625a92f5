"""Groups of parity by format-spec/parity.md, from its words alone: made anew from the members, compared with what they are named by."""

import blake3
from primitives import need

BLOCK = 65536
POLYNOMIAL = 0x1002D
BASIS = [int(it, 16) for it in "0001 acca 3c0e 163e c582 ed2e 914c 4012 6c98 10d8 6a72 b900 fdb8 fb34 ff38 991e".split()]

def times(a, b):
    product = 0
    for bit in reversed(range(16)):
        product <<= 1
        product ^= POLYNOMIAL if product >> 16 else 0
        product ^= a if b >> bit & 1 else 0
    return product

def inverse(a):
    result, power = 1, a
    for _ in range(15):
        power = times(power, power)
        result = times(result, power)
    return result

def element(number):
    result = 0
    for bit in range(16):
        result ^= BASIS[bit] if number >> bit & 1 else 0
    return result

def numbers_of_bits():
    """The number that each element of one bit stands for: by elimination over the basis."""
    rows = [(BASIS[bit], 1 << bit) for bit in range(16)]
    for bit in range(16):
        at = next(n for n in range(bit, 16) if rows[n][0] >> bit & 1)
        rows[bit], rows[at] = rows[at], rows[bit]
        rows = [(e ^ rows[bit][0], n ^ rows[bit][1]) if i != bit and e >> bit & 1 else (e, n) for i, (e, n) in enumerate(rows)]
    return [number for _, number in rows]

def table(factor, bits):
    """What each byte of a symbol, low and high, adds to the number of `factor` times what it stands for."""
    def number(value):
        product, result = times(factor, element(value)), 0
        for bit in range(16):
            result ^= bits[bit] if product >> bit & 1 else 0
        return result
    return [number(low) for low in range(256)], [number(high << 8) for high in range(256)]

def factor(rows, row, place):
    """What the symbol of a place is multiplied by in a row: Lagrange's polynomial of its batch, at the row's point."""
    c = 1
    while c < rows:
        c *= 2
    points, at = [element(c + place // c * c + s) for s in range(c)], element(row)
    own, result = points[place % c], 1
    for point in points:
        if point != own:
            result = times(result, times(at ^ point, inverse(own ^ point)))
    return result

def add(row, block, low, high):
    for stretch in range(0, BLOCK, 64):
        for i in range(stretch, stretch + 32):
            symbol = low[block[i]] ^ high[block[i + 32]]
            row[i] ^= symbol & 255
            row[i + 32] ^= symbol >> 8

def group(repository, rows, members):
    """The object: `members` are (name, bytes) by place, or None."""
    bits, columns = numbers_of_bits(), max(len(it[1]) for it in members if it) // BLOCK
    head = b"RKEEPPAR" + (1).to_bytes(2, "little") + bytes([1, 0]) + len(members).to_bytes(2, "little")
    head += rows.to_bytes(2, "little") + repository + columns.to_bytes(4, "little") + bytes(28)
    for member in members:
        head += member[0] + len(member[1]).to_bytes(8, "little") if member else bytes(40)
    head += blake3.blake3(head).digest()
    list_of_members, made = head, []
    for row in range(rows):
        made.append([bytearray(BLOCK) for _ in range(columns)])
        for place, member in enumerate(members):
            tables = table(factor(rows, row, place), bits) if member else None
            for column in range(len(member[1]) // BLOCK if member else 0):
                add(made[row][column], member[1][column * BLOCK : (column + 1) * BLOCK], *tables)
    blocks = [member[1][at : at + BLOCK] for member in members if member for at in range(0, len(member[1]), BLOCK)]
    blocks += [bytes(block) for row in made for block in row]
    head += b"".join(blake3.blake3(block).digest()[:16] for block in blocks)
    head += blake3.blake3(head).digest()
    return list_of_members, head + b"".join(bytes(block) for row in made for block in row)

def check_groups(said):
    for one in said["groups"]:
        members = []
        for place in one["places"]:
            data = place and blake3.blake3(place["text"].encode()).digest(length=place["bytes"])
            members.append(place and (blake3.blake3(data).digest(), data))
            need(place is None or members[-1][0].hex() == place["name"], "the name of a member")
        begins, made = group(bytes.fromhex(said["repository"]), one["rows"], members)
        need(begins.hex() == one["list"], f"{one['what']}: another list")
        need(len(made) == one["bytes"] and blake3.blake3(made).hexdigest() == one["name"], f"{one['what']}: another group")
