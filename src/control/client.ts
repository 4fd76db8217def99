/**
 * A client of a VM process's control socket: calls, events, and the console, on one connection.
 */
import { connect, type Socket } from "node:net";
import { VmError } from "../errors.js";
import {
  decodeMessage,
  encodeFrame,
  encodeMessage,
  FRAME,
  FrameDecoder,
  fromRpcError,
  type Message,
  PROTOCOL_VERSION,
} from "./protocol.js";

/** Console bytes that may be on their way unasked; the guest leaves no more than a few times this unread. */
const SERIAL_PIECE_BYTES = 16 * 1024;

export interface ClientEvents {
  /** A notification of the VM process. */
  event(method: string, params: unknown): void;
  /** Bytes from the guest's serial port. */
  console(bytes: Uint8Array): void;
  /** The connection is gone; no more events follow. */
  closed(): void;
}

interface Call {
  resolve(result: unknown): void;
  reject(error: VmError): void;
}

export class ControlClient {
  readonly #socket: Socket;
  readonly #events: ClientEvents;
  readonly #calls = new Map<number, Call>();
  #nextId = 1;
  /** Console bytes sent since the guest was last known to keep up. */
  #unasked = 0;
  #released = false;

  private constructor(socket: Socket, events: ClientEvents) {
    this.#socket = socket;
    this.#events = events;
    const decoder = new FrameDecoder();
    socket.on("data", (chunk: Buffer) => {
      try {
        for (const frame of decoder.push(chunk)) {
          if (frame.type === FRAME.message) this.#receive(decodeMessage(frame.payload));
          else events.console(frame.payload);
        }
      } catch (error) {
        socket.destroy(error as Error);
      }
    });
    socket.on("error", () => socket.destroy());
    socket.on("close", () => {
      const died = new VmError("VM_PROCESS_DIED", "the connection to the VM process is closed", {
        hint: "the VM has ended; start it again",
      });
      for (const call of this.#calls.values()) call.reject(died);
      this.#calls.clear();
      events.closed();
    });
  }

  /**
   * Connects and introduces itself.
   * @throws VmError VM_PROCESS_DIED when nobody listens at `address`, VM_PROTOCOL for a wrong token or version.
   */
  static async connect(address: string, token: string, events: ClientEvents): Promise<ControlClient> {
    const socket = await new Promise<Socket>((resolve, reject) => {
      const opening = connect(address);
      opening.once("connect", () => {
        opening.removeAllListeners("error");
        resolve(opening);
      });
      opening.once("error", (cause) => {
        reject(
          new VmError("VM_PROCESS_DIED", `the VM process does not answer at ${address}: ${cause.message}`, { cause }),
        );
      });
    });
    const client = new ControlClient(socket, events);
    await client.call("hello", { protocol: PROTOCOL_VERSION, token });
    return client;
  }

  /** Calls a method of the VM process. Rejects with the VmError thrown there, or VM_PROCESS_DIED. */
  call(method: string, params: unknown = {}): Promise<unknown> {
    return new Promise((resolve, reject) => {
      if (!this.#socket.writable) {
        reject(new VmError("VM_PROCESS_DIED", "the VM has ended", { hint: "start it again" }));
        return;
      }
      const id = this.#nextId++;
      this.#calls.set(id, { resolve, reject });
      this.#socket.write(encodeMessage({ jsonrpc: "2.0", id, method, params }));
    });
  }

  /** Sends bytes to the guest's serial port; resolves when the guest keeps up, or the VM has ended. */
  async send(bytes: Uint8Array): Promise<void> {
    for (let offset = 0; offset < bytes.length; offset += SERIAL_PIECE_BYTES) {
      if (!this.#socket.writable) return;
      const piece = bytes.subarray(offset, offset + SERIAL_PIECE_BYTES);
      this.#unasked += piece.length;
      const flushed = this.#socket.write(encodeFrame(FRAME.serial0, piece));
      if (this.#unasked >= SERIAL_PIECE_BYTES) {
        this.#unasked = 0;
        // Calls pass a guest that does not read: it can be killed while this waits.
        await this.call("serialRoom").catch(() => {});
      } else if (!flushed) {
        await new Promise<void>((resolve) => this.#whenDrained(resolve));
      }
    }
  }

  /** Stops or goes on taking what the VM process sends; while stopped, the guest is held back. */
  hold(stopped: boolean): void {
    if (stopped && !this.#released) this.#socket.pause();
    else this.#socket.resume();
  }

  /** Takes all that comes from now on, however far the readers are behind: the VM is about to end. */
  release(): void {
    this.#released = true;
    this.hold(false);
  }

  close(): void {
    this.#socket.destroy();
  }

  #whenDrained(done: () => void): void {
    const finish = () => {
      this.#socket.off("drain", finish);
      this.#socket.off("close", finish);
      done();
    };
    this.#socket.on("drain", finish);
    this.#socket.on("close", finish);
  }

  #receive(message: Message): void {
    if (!("id" in message)) {
      this.#events.event(message.method, message.params);
      return;
    }
    const call = this.#calls.get(message.id);
    this.#calls.delete(message.id);
    if ("error" in message) call?.reject(fromRpcError(message.error));
    else if ("result" in message) call?.resolve(message.result);
  }
}
