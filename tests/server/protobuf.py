"""Protocol buffers by hand: enough to write requests, and to find fields in answers."""


def varint(number):
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def pb(*fields):
    """pb((1, b"bytes"), (2, 7), (3, "text")): a message of these fields."""
    out = b""
    for number, value in fields:
        if isinstance(value, int):
            out += varint(number << 3) + varint(value)
        else:
            value = value.encode() if isinstance(value, str) else value
            out += varint(number << 3 | 2) + varint(len(value)) + value
    return out


def fields(message):
    """[(number, int or bytes)]; numbers of fixed size are bytes, too."""
    at, found = 0, []

    def take():
        nonlocal at
        number, shift = 0, 0
        while True:
            byte = message[at]
            at += 1
            number |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return number

    while at < len(message):
        tag = take()
        if tag & 7 == 0:
            found.append((tag >> 3, take()))
            continue
        size = {1: 8, 5: 4}[tag & 7] if tag & 7 != 2 else take()
        found.append((tag >> 3, message[at:at + size]))
        at += size
    return found


def field(message, *path):
    """The first field at that path, or None."""
    for number in path:
        message = next((value for n, value in fields(message) if n == number), None)
        if message is None:
            return None
    return message
