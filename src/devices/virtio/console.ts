/**
 * The console device (virtio 1.3, 5.3): one port, bytes from the driver to a sink and from an input channel to the
 * driver. Emergency writes (VIRTIO_CONSOLE_F_EMERG_WRITE) reach the sink before any queue is set up.
 * Left out: console size, multiport.
 */
import type { AccessSize } from "../../bus/access.js";
import type { ByteSink } from "../../display/byte-sink.js";
import type { DeviceContext, StateValue } from "../device.js";
import type { SavedState } from "../saved-state.js";
import { VIRTIO_ID, type VirtioModel, type VirtioTransport } from "./model.js";

const RECEIVE_QUEUE = 0;
const TRANSMIT_QUEUE = 1;
const FEATURE_EMERGENCY_WRITE = 2;
/** Configuration: cols, rows (le16 each), max_nr_ports, emerg_wr (le32 each). */
const EMERGENCY_WRITE = 8;
/** One transmit buffer of a driver is a page or two; of what is longer than this the rest is dropped. */
const MAX_TRANSMIT_BYTES = 1024 * 1024;

export class VirtioConsole implements VirtioModel {
  readonly deviceId = VIRTIO_ID.console;
  readonly classCode = 0x07_80_00;
  readonly features = 1 << FEATURE_EMERGENCY_WRITE;
  readonly queueSizes = [64, 64] as const;
  readonly name: string;
  readonly #context: DeviceContext;
  readonly #sink: ByteSink;
  /** Bytes from outside that no receive buffer has taken yet, oldest first. */
  readonly #waiting: Uint8Array[] = [];
  #transport: VirtioTransport | undefined;

  /** Input arrives on `channel`. */
  constructor(context: DeviceContext, sink: ByteSink, channel = "console0", name = "virtio-console") {
    this.#context = context;
    this.#sink = sink;
    this.name = name;
    const deliver = (bytes: Uint8Array) => {
      if (bytes.length === 0) return;
      this.#waiting.push(bytes);
      this.#transport?.kick(RECEIVE_QUEUE);
    };
    context.inputs.onBytes(channel, deliver, () => this.#waiting.reduce((sum, bytes) => sum + bytes.length, 0));
  }

  connect(transport: VirtioTransport): void {
    this.#transport = transport;
  }

  readConfig(_offset: number, _size: AccessSize): number {
    return 0;
  }

  writeConfig(offset: number, _size: AccessSize, value: number): void {
    if (offset === EMERGENCY_WRITE) this.#sink.write(new Uint8Array([value & 0xff]));
  }

  processQueue(index: number): void {
    const transport = this.#transport;
    if (transport === undefined) return;
    if (index === RECEIVE_QUEUE) this.#receive(transport);
    else this.#transmit(transport);
  }

  /** What was typed and not read yet stays: it belongs to whoever opens the port next. */
  reset(): void {}

  save(): { readonly [key: string]: StateValue } {
    return { waiting: Buffer.concat(this.#waiting).toString("base64") };
  }

  load(saved: SavedState): void {
    const waiting = saved.bytes("waiting");
    this.#waiting.length = 0;
    if (waiting.length > 0) this.#waiting.push(waiting);
  }

  #transmit(transport: VirtioTransport): void {
    const queue = transport.queue(TRANSMIT_QUEUE);
    for (let chain = queue.pop(); chain !== undefined; chain = queue.pop()) {
      const bytes = new Uint8Array(Math.min(chain.readableBytes, MAX_TRANSMIT_BYTES));
      if (bytes.length < chain.readableBytes) this.#context.warn(this.name, "an oversized transmit buffer was cut");
      if (!chain.read(0, bytes)) {
        transport.fail("a transmit buffer is not in RAM");
        return;
      }
      if (bytes.length > 0) this.#sink.write(bytes);
      queue.push(chain, 0);
    }
    queue.publish();
  }

  #receive(transport: VirtioTransport): void {
    const queue = transport.queue(RECEIVE_QUEUE);
    while (this.#waiting.length > 0) {
      const chain = queue.pop();
      if (chain === undefined) break;
      const written = this.#fill(chain.writableBytes, (position, bytes) => chain.write(position, bytes));
      if (written === undefined) {
        transport.fail("a receive buffer is not in RAM");
        return;
      }
      queue.push(chain, written);
    }
    queue.publish();
  }

  /** Moves waiting bytes into one buffer of `room` bytes; returns how many, or undefined where `put` refuses. */
  #fill(room: number, put: (position: number, bytes: Uint8Array) => boolean): number | undefined {
    let written = 0;
    for (let bytes = this.#waiting[0]; bytes !== undefined && written < room; bytes = this.#waiting[0]) {
      const piece = bytes.subarray(0, room - written);
      if (!put(written, piece)) return undefined;
      written += piece.length;
      if (piece.length === bytes.length) this.#waiting.shift();
      else this.#waiting[0] = bytes.subarray(piece.length);
    }
    return written;
  }
}
