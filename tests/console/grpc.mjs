// As much gRPC as it takes to make a group and to park events: KurrentDB's PersistentSubscriptions,
// over node's own HTTP/2, the messages put together by hand.

import http2 from 'node:http2';

const SERVICE = '/event_store.client.persistent_subscriptions.PersistentSubscriptions/';

function varint(value) {
  const bytes = [];
  let rest = BigInt(value);
  do {
    bytes.push(Number(rest & 127n) | (rest > 127n ? 128 : 0));
    rest >>= 7n;
  } while (rest > 0n);
  return Buffer.from(bytes);
}

const bytes = (field, value) => {
  const data = Buffer.isBuffer(value) ? value : Buffer.from(value);
  return Buffer.concat([varint((field << 3) | 2), varint(data.length), data]);
};
const number = (field, value) => Buffer.concat([varint(field << 3), varint(value)]);
const message = (...parts) => Buffer.concat(parts);
const empty = Buffer.alloc(0);

function frame(data) {
  const head = Buffer.alloc(5);
  head.writeUInt32BE(data.length, 1);
  return Buffer.concat([head, data]);
}

// The fields of a message: [number, value] with value a Buffer or a BigInt.
function* fields(data) {
  let at = 0;
  const read = () => {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = data[at++];
      value |= BigInt(byte & 127) << shift;
      if (byte < 128) return value;
    }
  };
  while (at < data.length) {
    const key = Number(read());
    if ((key & 7) === 0) yield [key >> 3, read()];
    else {
      const size = Number(read());
      yield [key >> 3, data.subarray(at, at + size)];
      at += size;
    }
  }
}
const field = (data, wanted) => {
  for (const [found, value] of fields(data)) if (found === wanted) return value;
  return undefined;
};

const identifier = (stream) => bytes(3, stream);

function call(session, method, authorization) {
  return session.request({
    ':method': 'POST', ':path': SERVICE + method, 'content-type': 'application/grpc', te: 'trailers',
    ...(authorization ? { authorization } : {}),
  });
}

function statusOf(request) {
  return new Promise((resolve, reject) => {
    let status;
    request.on('response', (headers) => { status = headers['grpc-status'] ?? status; });
    request.on('trailers', (headers) => { status = headers['grpc-status'] ?? status; });
    request.on('error', reject);
    request.on('close', () => resolve(status));
    request.resume();
  });
}

// A group of a stream (undefined: of all events) from the beginning, that retries nothing.
export async function createGroup(url, stream, group, authorization) {
  const session = http2.connect(url);
  const settings = message(number(5, 0), number(7, 1), number(8, 10), number(10, 500),
    number(11, 20), number(12, 500), number(14, 30000), number(15, 1000), bytes(16, 'RoundRobin'));
  const from = stream === undefined
    ? bytes(5, message(bytes(2, empty), bytes(5, empty)))
    : bytes(4, message(bytes(1, identifier(stream)), bytes(3, empty)));
  const request = call(session, 'Create', authorization);
  const status = statusOf(request);
  request.end(frame(bytes(1, message(from, bytes(2, group), bytes(3, settings)))));
  const code = await status;
  session.close();
  if (code !== '0') throw new Error(`Create: gRPC status ${code}`);
}

// A consumer: on each event, decide(type, count) says 'ack', 'park' or 'hold'. Resolves when `count`
// events have come; the consumer stays until stop() is called.
export async function consume(url, stream, group, count, decide, authorization) {
  const session = http2.connect(url);
  const request = call(session, 'Read', authorization);
  request.on('error', () => {});
  const what = stream === undefined ? bytes(5, empty) : bytes(1, identifier(stream));
  request.write(frame(bytes(1, message(what, bytes(2, group), number(3, 10),
    bytes(4, bytes(2, empty))))));
  let buffer = empty;
  let seen = 0;
  await new Promise((resolve, reject) => {
    request.on('close', () => reject(new Error('the consumer was dropped')));
    request.on('data', (data) => {
      buffer = Buffer.concat([buffer, data]);
      while (buffer.length >= 5 && buffer.length >= 5 + buffer.readUInt32BE(1)) {
        const size = buffer.readUInt32BE(1);
        const answer = buffer.subarray(5, 5 + size);
        buffer = buffer.subarray(5 + size);
        const event = field(answer, 1);
        if (event === undefined) continue;
        const recorded = field(event, 1);
        const id = field(field(field(event, 2) ?? recorded, 1), 2);
        let type = '';
        for (const [found, pair] of fields(recorded)) {
          if (found === 6 && String(field(pair, 1)) === 'type') type = String(field(pair, 2));
        }
        const verdict = decide(type, seen);
        if (verdict === 'ack') request.write(frame(bytes(2, bytes(2, bytes(2, id)))));
        else if (verdict === 'park') {
          request.write(frame(bytes(3, message(bytes(2, bytes(2, id)), number(3, 1),
            bytes(4, 'the test parks it')))));
        }
        if (++seen === count) resolve();
      }
    });
  });
  return () => {
    request.destroy();
    session.destroy();
  };
}
