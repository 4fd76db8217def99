/**
 * The control socket in the VM process: a Unix socket in a directory that only this user may enter (a named pipe on
 * Windows), a token, and any number of clients. Every client sees the console and the events.
 *
 * The first client is the owner: the guest waits for it when it is behind. A later one that falls far behind is dropped.
 */
import { randomBytes, timingSafeEqual } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { VmError } from "../errors.js";
import type { ConsoleHub } from "./console-hub.js";
import {
  decodeMessage,
  encodeFrame,
  encodeMessage,
  FRAME,
  FrameDecoder,
  helloSchema,
  type Message,
  PROTOCOL_VERSION,
  toRpcError,
} from "./protocol.js";

/** A client other than the owner is dropped when this many bytes wait for it. */
const MAX_LAG_BYTES = 8 * 1024 * 1024;
/** How long the end of the VM waits for clients other than the owner to take what is queued. */
const LINGER_MS = 1000;

export interface ServerOptions {
  readonly token: string;
  readonly console: ConsoleHub;
  /** Answers a call, at once or by a promise; throws VmError for what it cannot do. */
  call(method: string, params: unknown): unknown;
  /** Takes bytes for the guest's serial port. */
  input(bytes: Uint8Array): void;
}

export class ControlServer {
  /** Path of the socket, or name of the pipe. */
  readonly address: string;
  readonly #options: ServerOptions;
  readonly #directory: string | undefined;
  readonly #server: Server;
  readonly #sessions = new Set<Session>();
  #owner: Session | undefined;

  constructor(options: ServerOptions) {
    this.#options = options;
    if (process.platform === "win32") {
      this.#directory = undefined;
      this.address = `\\\\.\\pipe\\vmdeck-${randomBytes(16).toString("hex")}`;
    } else {
      // mkdtemp makes the directory with mode 0700.
      this.#directory = mkdtempSync(join(tmpdir(), "vmdeck-"));
      this.address = join(this.#directory, "control");
    }
    this.#server = createServer((socket) => this.#accept(socket));
  }

  /** Starts to listen. Rejects with VM_PROTOCOL when the socket cannot be made. */
  listen(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#server.once("error", (cause) => {
        reject(
          new VmError("VM_PROTOCOL", `the control socket ${this.address} cannot be made: ${cause.message}`, { cause }),
        );
      });
      this.#server.listen(this.address, resolve);
    });
  }

  /** Tells every client of an event. */
  notify(method: string, params: unknown): void {
    for (const session of this.#sessions) if (session.greeted) session.send({ jsonrpc: "2.0", method, params });
  }

  /** Lets the owner take everything queued, others for a moment, and closes. */
  async close(): Promise<void> {
    this.#server.close();
    await Promise.all(
      [...this.#sessions].map((session) => session.end(session === this.#owner ? undefined : LINGER_MS)),
    );
    this.remove();
  }

  /** Removes the socket from the file system; safe at any time, and synchronous for exit handlers. */
  remove(): void {
    if (this.#directory !== undefined) rmSync(this.#directory, { recursive: true, force: true });
  }

  #accept(socket: Socket): void {
    const session = new Session(socket, {
      message: (message) => this.#receive(session, message),
      input: (bytes) => this.#options.input(bytes),
      closed: () => {
        this.#sessions.delete(session);
        session.detach();
      },
    });
    this.#sessions.add(session);
  }

  #receive(session: Session, message: Message): void {
    if (!("id" in message) || !("method" in message)) return;
    const { id, method, params } = message;
    const refuse = (error: unknown) => session.send({ jsonrpc: "2.0", id, error: toRpcError(error) });
    try {
      const result = method === "hello" ? this.#hello(session, params) : this.#call(session, method, params);
      const answer = (value: unknown) => session.send({ jsonrpc: "2.0", id, result: value ?? null });
      if (result instanceof Promise) result.then(answer, refuse);
      else answer(result);
      if (method === "hello") this.#welcome(session);
    } catch (error) {
      refuse(error);
    }
  }

  #hello(session: Session, params: unknown): unknown {
    const hello = helloSchema.safeParse(params);
    if (!hello.success || !sameToken(hello.data.token, this.#options.token)) {
      throw new VmError("VM_PROTOCOL", "the token is wrong", { hint: "only who started this VM may control it" });
    }
    if (hello.data.protocol !== PROTOCOL_VERSION) {
      throw new VmError(
        "VM_PROTOCOL",
        `this VM speaks control protocol ${PROTOCOL_VERSION}, not ${hello.data.protocol}`,
        {
          hint: "use the vmdeck version that started the VM",
        },
      );
    }
    session.greeted = true;
    return { protocol: PROTOCOL_VERSION, pid: process.pid };
  }

  #welcome(session: Session): void {
    const owner = this.#owner === undefined;
    if (owner) this.#owner = session;
    session.detach = this.#options.console.attach((bytes) => {
      const drained = session.sendConsole(bytes);
      if (!owner && session.queuedBytes > MAX_LAG_BYTES) session.drop();
      return owner ? drained : undefined;
    });
  }

  #call(session: Session, method: string, params: unknown): unknown {
    if (!session.greeted) throw new VmError("VM_PROTOCOL", "the first call must be hello");
    return this.#options.call(method, params);
  }
}

interface SessionEvents {
  message(message: Message): void;
  input(bytes: Uint8Array): void;
  closed(): void;
}

/** One connected client. */
class Session {
  greeted = false;
  /** Removes the client from the console. */
  detach: () => void = () => {};
  readonly #socket: Socket;
  readonly #closed: Promise<void>;

  constructor(socket: Socket, events: SessionEvents) {
    this.#socket = socket;
    const decoder = new FrameDecoder();
    socket.on("data", (chunk: Buffer) => {
      try {
        for (const frame of decoder.push(chunk)) {
          if (frame.type === FRAME.message) events.message(decodeMessage(frame.payload));
          else if (this.greeted) events.input(frame.payload);
        }
      } catch (error) {
        // The stream is out of step for good; say so and hang up.
        this.send({ jsonrpc: "2.0", method: "error", params: toRpcError(error) });
        socket.destroySoon();
      }
    });
    socket.on("error", () => socket.destroy());
    this.#closed = new Promise((resolve) => {
      socket.on("close", () => {
        events.closed();
        resolve();
      });
    });
  }

  get queuedBytes(): number {
    return this.#socket.writableLength;
  }

  send(message: Message): void {
    if (this.#socket.writable) this.#socket.write(encodeMessage(message));
  }

  /** Sends console bytes; a promise until the client has caught up, if it is behind. */
  sendConsole(bytes: Uint8Array): Promise<void> | undefined {
    if (!this.#socket.writable || this.#socket.write(encodeFrame(FRAME.serial0, bytes))) return undefined;
    const drained = new Promise<void>((resolve) => this.#socket.once("drain", resolve));
    return Promise.race([drained, this.#closed]);
  }

  drop(): void {
    this.#socket.destroy();
  }

  /** Sends what is queued and hangs up; after `lingerMs` without mercy. */
  async end(lingerMs: number | undefined): Promise<void> {
    this.#socket.end();
    const timer = lingerMs === undefined ? undefined : setTimeout(() => this.#socket.destroy(), lingerMs);
    await this.#closed;
    clearTimeout(timer);
  }
}

function sameToken(given: string, expected: string): boolean {
  const [a, b] = [Buffer.from(given), Buffer.from(expected)];
  return a.length === b.length && timingSafeEqual(a, b);
}
