/**
 * The control protocol between a VM process and its clients, version 1: frames on a local socket.
 *
 * A frame is a 4-byte little-endian payload length, a 1-byte type, and the payload: a JSON-RPC 2.0 message in UTF-8, or
 * bytes of a guest console. Clients call `hello` with the version and the token first; console bytes flow both ways
 * after that. This file knows frames and message shapes; sockets are `server.ts` and `client.ts`.
 */
import { z } from "zod";
import { VmError, type VmErrorCode } from "../errors.js";

export const PROTOCOL_VERSION = 1;
/** Longest payload of a frame in bytes; a longer one is an error of the peer. */
export const MAX_PAYLOAD_BYTES = 4 * 1024 * 1024;
const HEADER_BYTES = 5;

/** What a payload is. */
export const FRAME = { message: 0, serial0: 1 } as const;
export type FrameType = (typeof FRAME)[keyof typeof FRAME];

export interface Frame {
  readonly type: FrameType;
  readonly payload: Uint8Array;
}

/** A frame ready to be sent. `payload` is at most MAX_PAYLOAD_BYTES. */
export function encodeFrame(type: FrameType, payload: Uint8Array): Buffer {
  const frame = Buffer.allocUnsafe(HEADER_BYTES + payload.length);
  frame.writeUInt32LE(payload.length, 0);
  frame.writeUInt8(type, 4);
  frame.set(payload, HEADER_BYTES);
  return frame;
}

/** Cuts a byte stream into frames, whatever the pieces it arrives in. */
export class FrameDecoder {
  #pending: Buffer = Buffer.alloc(0);

  /**
   * Takes the next bytes and returns the frames they complete.
   * @throws VmError VM_PROTOCOL for an unknown type or a payload that is too long; the stream is then lost.
   */
  push(bytes: Uint8Array): Frame[] {
    this.#pending = this.#pending.length === 0 ? Buffer.from(bytes) : Buffer.concat([this.#pending, bytes]);
    const frames: Frame[] = [];
    while (this.#pending.length >= HEADER_BYTES) {
      const length = this.#pending.readUInt32LE(0);
      const type = this.#pending.readUInt8(4);
      if (length > MAX_PAYLOAD_BYTES) throw new VmError("VM_PROTOCOL", `a frame of ${length} bytes is too long`);
      if (type !== FRAME.message && type !== FRAME.serial0)
        throw new VmError("VM_PROTOCOL", `unknown frame type ${type}`);
      if (this.#pending.length < HEADER_BYTES + length) break;
      frames.push({ type, payload: this.#pending.subarray(HEADER_BYTES, HEADER_BYTES + length) });
      this.#pending = this.#pending.subarray(HEADER_BYTES + length);
    }
    return frames;
  }
}

const errorSchema = z.object({
  code: z.number(),
  message: z.string(),
  data: z.object({ code: z.string(), hint: z.string().optional() }).optional(),
});

const messageSchema = z.union([
  z.object({ jsonrpc: z.literal("2.0"), id: z.number(), method: z.string(), params: z.unknown().optional() }),
  z.object({ jsonrpc: z.literal("2.0"), id: z.number(), error: errorSchema }),
  z.object({ jsonrpc: z.literal("2.0"), id: z.number(), result: z.unknown() }),
  z.object({ jsonrpc: z.literal("2.0"), method: z.string(), params: z.unknown().optional() }),
]);

/** A JSON-RPC 2.0 request, error, response or notification. */
export type Message = z.infer<typeof messageSchema>;

/** @throws VmError VM_PROTOCOL when the payload is no such message. */
export function decodeMessage(payload: Uint8Array): Message {
  let value: unknown;
  try {
    value = JSON.parse(Buffer.from(payload).toString("utf8"));
  } catch (cause) {
    throw new VmError("VM_PROTOCOL", "a message is not JSON", { cause });
  }
  const parsed = messageSchema.safeParse(value);
  if (!parsed.success) throw new VmError("VM_PROTOCOL", "a message is not JSON-RPC 2.0", { cause: parsed.error });
  return parsed.data;
}

export function encodeMessage(message: Message): Buffer {
  return encodeFrame(FRAME.message, Buffer.from(JSON.stringify(message)));
}

/** An error as JSON-RPC carries it; -32000 is "server error", ours is in `data`. */
export function toRpcError(error: unknown): z.infer<typeof errorSchema> {
  if (!(error instanceof VmError)) return { code: -32603, message: String(error), data: { code: "VM_INTERNAL" } };
  const data = error.hint === undefined ? { code: error.code } : { code: error.code, hint: error.hint };
  return { code: -32000, message: error.message, data };
}

/** The peer's error as it was thrown there. */
export function fromRpcError(error: z.infer<typeof errorSchema>): VmError {
  const { code = "VM_PROTOCOL", hint } = error.data ?? {};
  return new VmError(code as VmErrorCode, error.message, hint === undefined ? {} : { hint });
}

/** What the launcher writes to the VM process's standard input, as one line of JSON. */
export const launchSchema = z.discriminatedUnion("kind", [
  /** Run a VM; `config` is checked again by the VM process. The VM ends when standard input does. */
  z.object({
    kind: z.literal("vm"),
    token: z.string().min(32),
    config: z.unknown(),
    timeoutMs: z.number().int().positive().optional(),
  }),
  /** Measure the engine for this long, and answer with its speed. */
  z.object({ kind: z.literal("selfTest"), milliseconds: z.number().int().positive().max(60_000) }),
]);
export type Launch = z.infer<typeof launchSchema>;

/** What the VM process answers on its standard output, as one line of JSON. */
export const launchAnswerSchema = z.discriminatedUnion("kind", [
  /** The control socket's address: a path, or a named pipe on Windows. */
  z.object({ kind: z.literal("ready"), address: z.string() }),
  z.object({ kind: z.literal("selfTest"), instructions: z.number(), milliseconds: z.number() }),
  z.object({ kind: z.literal("error"), error: errorSchema }),
]);
export type LaunchAnswer = z.infer<typeof launchAnswerSchema>;

/** Parameters of `hello`, the first call of every client. */
export const helloSchema = z.object({ protocol: z.number(), token: z.string() });
