import { expect, test } from "vitest";
import {
  decodeMessage,
  encodeFrame,
  encodeMessage,
  FRAME,
  FrameDecoder,
  fromRpcError,
  MAX_PAYLOAD_BYTES,
  toRpcError,
} from "../../src/control/protocol.js";
import { VmError } from "../../src/errors.js";

/** A reproducible stream of numbers below `limit`. */
function numbers(seed: number): (limit: number) => number {
  let state = seed;
  return (limit) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * limit);
  };
}

test("frames come out as they went in, whatever pieces they arrive in", () => {
  for (let seed = 1; seed <= 200; seed++) {
    const below = numbers(seed);
    const frames = Array.from({ length: 1 + below(20) }, () => ({
      type: below(2) === 0 ? FRAME.message : FRAME.serial0,
      payload: Uint8Array.from({ length: below(300) }, () => below(256)),
    }));
    const stream = Buffer.concat(frames.map((frame) => encodeFrame(frame.type, frame.payload)));
    const decoder = new FrameDecoder();
    const received = [];
    for (let at = 0; at < stream.length; ) {
      const piece = 1 + below(seed % 3 === 0 ? 3 : 100);
      received.push(...decoder.push(stream.subarray(at, at + piece)));
      at += piece;
    }
    expect(received.map(({ type, payload }) => ({ type, payload: Uint8Array.from(payload) }))).toEqual(frames);
  }
});

test("a frame that is too long or of no known type is refused before its payload has come", () => {
  const header = (length: number, type: number) => {
    const bytes = Buffer.alloc(5);
    bytes.writeUInt32LE(length);
    bytes.writeUInt8(type, 4);
    return bytes;
  };
  const code = (bytes: Uint8Array) => {
    try {
      new FrameDecoder().push(bytes);
      return undefined;
    } catch (error) {
      return error instanceof VmError ? error.code : error;
    }
  };
  expect(code(header(MAX_PAYLOAD_BYTES, FRAME.serial0))).toBeUndefined();
  expect(code(header(MAX_PAYLOAD_BYTES + 1, FRAME.serial0))).toBe("VM_PROTOCOL");
  expect(code(header(0xffff_ffff, FRAME.message))).toBe("VM_PROTOCOL");
  expect(code(header(1, 9))).toBe("VM_PROTOCOL");
});

test("garbage is a protocol error and nothing else", () => {
  const below = numbers(7);
  for (let i = 0; i < 10_000; i++) {
    const garbage = Uint8Array.from({ length: below(64) }, () => below(256));
    try {
      for (const frame of new FrameDecoder().push(garbage)) decodeMessage(frame.payload);
    } catch (error) {
      expect((error as VmError).code).toBe("VM_PROTOCOL");
    }
  }
});

test("messages are JSON-RPC 2.0 or nothing", () => {
  const decode = (text: string) => decodeMessage(Buffer.from(text));
  const call = { jsonrpc: "2.0", id: 1, method: "stats", params: { deep: [1, 2] } } as const;
  const [frame] = new FrameDecoder().push(encodeMessage(call));
  expect(decodeMessage(frame?.payload ?? new Uint8Array())).toEqual(call);
  expect(decode('{"jsonrpc":"2.0","id":1,"result":null}')).toEqual({ jsonrpc: "2.0", id: 1, result: null });
  for (const bad of [
    "",
    "null",
    "[]",
    "{}",
    '{"jsonrpc":"1.0","method":"x"}',
    '{"jsonrpc":"2.0","id":"a","result":1}',
  ]) {
    expect(() => decode(bad)).toThrow(VmError);
  }
});

test("errors keep their code and hint on the way", () => {
  const error = new VmError("VM_DISK_LOCKED", "in use", { hint: "stop the other VM" });
  expect(fromRpcError(toRpcError(error))).toMatchObject({
    code: "VM_DISK_LOCKED",
    message: "in use",
    hint: "stop the other VM",
  });
  expect(fromRpcError(toRpcError(new TypeError("oops")))).toMatchObject({ code: "VM_INTERNAL" });
});
