/**
 * 16550A asynchronous serial port (National PC16550D datasheet, section 8): registers, FIFO with trigger levels,
 * prioritised interrupts, character timeout, loopback. OUT2 gates the interrupt, as the PC wires it.
 *
 * Transmission takes no time: each byte goes to the sink as it is written. Received bytes wait in a queue without
 * limit and pass into the FIFO as the guest makes room, so that the line never overruns. The peer honours RTS: once
 * the guest has written MCR, bytes flow only while RTS is up, and those unread when it drops count as not yet sent;
 * input piped in at power-on thus survives the probing of the driver. Left out: parity, framing and break on the line.
 */
import { BytePorts } from "../bus/byte-ports.js";
import type { PortBus } from "../bus/ports.js";
import type { ByteSink } from "../display/byte-sink.js";
import { ByteQueue } from "./byte-queue.js";
import type { Device, DeviceContext, DeviceState, GuestTimer, IrqPin } from "./device.js";
import { encodeBytes, SavedState } from "./saved-state.js";

const PORTS = 8;
const FIFO_BYTES = 16;
const TRIGGER_LEVELS = [1, 4, 8, 14] as const;
/** 1.8432 MHz crystal: one bit lasts 16 divisor clocks. */
const BIT_NS_PER_DIVISOR = (16 * 1e9) / 1_843_200;

const REG = { data: 0, ier: 1, iirFcr: 2, lcr: 3, mcr: 4, lsr: 5, msr: 6, scratch: 7 } as const;
const IER = { received: 0x01, transmitterEmpty: 0x02, lineStatus: 0x04, modemStatus: 0x08 } as const;
const IIR = { modemStatus: 0x00, none: 0x01, transmitterEmpty: 0x02, received: 0x04, lineStatus: 0x06, timeout: 0x0c };
const IIR_FIFOS_ENABLED = 0xc0;
const FCR = { enable: 0x01, clearReceiver: 0x02 } as const;
const LCR_DLAB = 0x80;
const MCR = { dtr: 0x01, rts: 0x02, out1: 0x04, out2: 0x08, loop: 0x10 } as const;
const LSR = { dataReady: 0x01, overrun: 0x02, transmitterEmpty: 0x60 } as const;
const MSR = { cts: 0x10, dsr: 0x20, ring: 0x40, dcd: 0x80 } as const;
const MSR_RING_FELL = 0x04;
const STATE_VERSION = 1;

export interface UartOptions {
  /** Unique in the machine; also the name of the input channel ("serial0"). */
  readonly name: string;
  /** First of the 8 ports. */
  readonly basePort: number;
  readonly irq: number;
  readonly sink: ByteSink;
}

export class Uart16550 extends BytePorts implements Device {
  readonly name: string;
  readonly #basePort: number;
  readonly #sink: ByteSink;
  readonly #clock: DeviceContext["clock"];
  readonly #irq: IrqPin;
  readonly #timeout: GuestTimer;

  #ier = 0;
  #fcr = 0;
  #lcr = 0;
  #mcr = 0;
  #lsrErrors = 0;
  #msr = 0;
  #scratch = 0;
  #divisor = 0;
  #transmitterEmptyPending = false;
  #timeoutPending = false;
  #mcrWritten = false;
  /** Receive FIFO, oldest first. */
  #fifo: number[] = [];
  /** How many bytes at the head of the FIFO came by loopback, not from outside. */
  #looped = 0;
  /** Bytes sent from outside that the FIFO had no room for. */
  readonly #queue = new ByteQueue();

  constructor(context: DeviceContext, options: UartOptions) {
    super();
    this.name = options.name;
    this.#basePort = options.basePort;
    this.#sink = options.sink;
    this.#clock = context.clock;
    this.#irq = context.irq(options.irq);
    this.#timeout = context.clock.timer(`${options.name}.timeout`, () => {
      this.#timeoutPending = true;
      this.#updateIrq();
    });
    const deliver = (bytes: Uint8Array) => {
      this.#queue.push(bytes);
      this.#receive();
    };
    context.inputs.onBytes(options.name, deliver, () => this.#queue.length);
    this.reset();
  }

  /** Claims the port's registers on `bus`. */
  attach(bus: PortBus): void {
    bus.claim(this.#basePort, PORTS, this);
  }

  reset(): void {
    this.#unsend();
    this.#ier = 0;
    this.#fcr = 0;
    this.#lcr = 0;
    this.#mcr = 0;
    this.#lsrErrors = 0;
    this.#msr = this.#modemInputs();
    this.#scratch = 0;
    this.#divisor = 12;
    this.#transmitterEmptyPending = false;
    this.#mcrWritten = false;
    this.#fifo = [];
    this.#looped = 0;
    this.#receive();
  }

  save(): DeviceState {
    return {
      version: STATE_VERSION,
      ier: this.#ier,
      fcr: this.#fcr,
      lcr: this.#lcr,
      mcr: this.#mcr,
      lsrErrors: this.#lsrErrors,
      msr: this.#msr,
      scratch: this.#scratch,
      divisor: this.#divisor,
      transmitterEmptyPending: this.#transmitterEmptyPending,
      timeoutPending: this.#timeoutPending,
      timeoutDeadlineNs: this.#timeout.deadlineNs ?? null,
      mcrWritten: this.#mcrWritten,
      fifo: encodeBytes(Uint8Array.from(this.#fifo)),
      looped: this.#looped,
      queue: encodeBytes(this.#queue.bytes()),
    };
  }

  load(state: DeviceState): void {
    const saved = new SavedState(this.name, state, STATE_VERSION);
    this.#ier = saved.integer("ier", 0, 0x0f);
    this.#fcr = saved.integer("fcr", 0, 0xff);
    this.#lcr = saved.integer("lcr", 0, 0xff);
    this.#mcr = saved.integer("mcr", 0, 0x1f);
    this.#lsrErrors = saved.integer("lsrErrors", 0, 0x1e);
    this.#msr = saved.integer("msr", 0, 0xff);
    this.#scratch = saved.integer("scratch", 0, 0xff);
    this.#divisor = saved.integer("divisor", 0, 0xffff);
    this.#transmitterEmptyPending = saved.boolean("transmitterEmptyPending");
    this.#timeoutPending = saved.boolean("timeoutPending");
    this.#mcrWritten = saved.boolean("mcrWritten");
    this.#fifo = Array.from(saved.bytes("fifo"));
    this.#looped = saved.integer("looped", 0, FIFO_BYTES);
    this.#queue.clear();
    this.#queue.push(saved.bytes("queue"));
    const deadlineNs = saved.optionalNumber("timeoutDeadlineNs");
    if (deadlineNs === undefined) this.#timeout.cancel();
    else this.#timeout.arm(deadlineNs);
    this.#updateIrq();
  }

  protected readByte(port: number): number {
    const divisorAccess = (this.#lcr & LCR_DLAB) !== 0;
    switch (port - this.#basePort) {
      case REG.data:
        return divisorAccess ? this.#divisor & 0xff : this.#readReceived();
      case REG.ier:
        return divisorAccess ? this.#divisor >> 8 : this.#ier;
      case REG.iirFcr:
        return this.#readInterruptId();
      case REG.lcr:
        return this.#lcr;
      case REG.mcr:
        return this.#mcr;
      case REG.lsr:
        return this.#readLineStatus();
      case REG.msr:
        return this.#readModemStatus();
      default:
        return this.#scratch;
    }
  }

  protected writeByte(port: number, value: number): void {
    const divisorAccess = (this.#lcr & LCR_DLAB) !== 0;
    switch (port - this.#basePort) {
      case REG.data:
        if (divisorAccess) this.#divisor = (this.#divisor & 0xff00) | value;
        else this.#transmit(value);
        break;
      case REG.ier:
        if (divisorAccess) this.#divisor = (this.#divisor & 0x00ff) | (value << 8);
        else this.#writeInterruptEnable(value);
        break;
      case REG.iirFcr:
        this.#writeFifoControl(value);
        break;
      case REG.lcr:
        this.#lcr = value;
        break;
      case REG.mcr:
        this.#writeModemControl(value);
        break;
      case REG.scratch:
        this.#scratch = value;
        break;
      default:
        // LSR and MSR: factory test only (8.6.3), MSR writes have no effect.
        break;
    }
  }

  #transmit(value: number): void {
    if ((this.#mcr & MCR.loop) !== 0) this.#receiveLooped(value);
    else this.#sink.write(Uint8Array.of(value));
    if ((this.#ier & IER.transmitterEmpty) === 0) {
      this.#transmitterEmptyPending = true;
      return;
    }
    // Writing THR withdraws the interrupt; the byte is gone at once, which is a fresh edge for the ISA line.
    this.#transmitterEmptyPending = false;
    this.#updateIrq();
    this.#transmitterEmptyPending = true;
    this.#updateIrq();
  }

  #receiveLooped(value: number): void {
    if (this.#fifo.length < this.#depth()) this.#fifo.push(value);
    else {
      this.#lsrErrors |= LSR.overrun;
      // Without FIFOs the newcomer replaces the waiting character; with them it is lost (8.6.3).
      if (!this.#fifosEnabled()) this.#fifo = [value];
    }
    this.#looped = this.#fifo.length;
    this.#restartTimeout();
    this.#updateIrq();
  }

  #readReceived(): number {
    const value = this.#fifo.shift() ?? 0;
    if (this.#looped > 0) this.#looped -= 1;
    this.#receive();
    return value;
  }

  #readInterruptId(): number {
    const id = this.#interruptId();
    if (id === IIR.transmitterEmpty) {
      this.#transmitterEmptyPending = false;
      this.#updateIrq();
    }
    return this.#fifosEnabled() ? id | IIR_FIFOS_ENABLED : id;
  }

  #readLineStatus(): number {
    const value = LSR.transmitterEmpty | this.#lsrErrors | (this.#fifo.length > 0 ? LSR.dataReady : 0);
    if (this.#lsrErrors !== 0) {
      this.#lsrErrors = 0;
      this.#updateIrq();
    }
    return value;
  }

  #readModemStatus(): number {
    const value = this.#msr;
    this.#msr &= 0xf0;
    if (value !== this.#msr) this.#updateIrq();
    return value;
  }

  #writeInterruptEnable(value: number): void {
    const enabled = value & ~this.#ier;
    this.#ier = value & 0x0f;
    // THRE is a level: enabling its interrupt while the transmitter is empty raises it at once.
    if ((enabled & IER.transmitterEmpty) !== 0) this.#transmitterEmptyPending = true;
    this.#updateIrq();
  }

  #writeFifoControl(value: number): void {
    const toggled = ((value ^ this.#fcr) & FCR.enable) !== 0;
    // The other bits are programmed only while bit 0 is written as one (8.6.4).
    this.#fcr = (value & FCR.enable) === 0 ? 0 : value & 0xc9;
    if (toggled || (value & (FCR.enable | FCR.clearReceiver)) === (FCR.enable | FCR.clearReceiver)) {
      this.#fifo = [];
      this.#looped = 0;
    }
    this.#receive();
  }

  #writeModemControl(value: number): void {
    this.#mcr = value & 0x1f;
    this.#mcrWritten = true;
    const before = this.#msr;
    const now = this.#modemInputs();
    const changed = (before ^ now) & (MSR.cts | MSR.dsr | MSR.dcd);
    const ringFell = (before & ~now & MSR.ring) !== 0 ? MSR_RING_FELL : 0;
    this.#msr = now | (before & 0x0f) | (changed >> 4) | ringFell;
    if (!this.#peerMaySend()) this.#unsend();
    this.#receive();
  }

  /** Modem inputs as they stand: a peer that is always ready, or our own outputs in loopback (8.6.7). */
  #modemInputs(): number {
    if ((this.#mcr & MCR.loop) === 0) return MSR.cts | MSR.dsr | MSR.dcd;
    return (
      ((this.#mcr & MCR.rts) !== 0 ? MSR.cts : 0) |
      ((this.#mcr & MCR.dtr) !== 0 ? MSR.dsr : 0) |
      ((this.#mcr & MCR.out1) !== 0 ? MSR.ring : 0) |
      ((this.#mcr & MCR.out2) !== 0 ? MSR.dcd : 0)
    );
  }

  #peerMaySend(): boolean {
    return !this.#mcrWritten || (this.#mcr & (MCR.rts | MCR.loop)) === MCR.rts;
  }

  /** Moves waiting bytes into the FIFO as far as there is room, and restarts what depends on its filling. */
  #receive(): void {
    if (this.#peerMaySend()) {
      for (let room = this.#depth() - this.#fifo.length; room > 0; room--) {
        const byte = this.#queue.shift();
        if (byte === undefined) break;
        this.#fifo.push(byte);
      }
    }
    this.#restartTimeout();
    this.#updateIrq();
  }

  /** Returns the unread bytes from outside to the head of the queue. */
  #unsend(): void {
    const unsent = this.#fifo.splice(this.#looped);
    if (unsent.length > 0) this.#queue.unshift(Uint8Array.from(unsent));
  }

  /** Timeout: below the trigger level, four character times without a byte arriving or being read (8.6.4). */
  #restartTimeout(): void {
    this.#timeoutPending = false;
    if (this.#fifosEnabled() && this.#fifo.length > 0 && this.#fifo.length < this.#triggerLevel()) {
      const bits = 7 + (this.#lcr & 0x03) + ((this.#lcr & 0x04) !== 0 ? 1 : 0) + ((this.#lcr & 0x08) !== 0 ? 1 : 0);
      const characterNs = bits * Math.max(this.#divisor, 1) * BIT_NS_PER_DIVISOR;
      this.#timeout.arm(this.#clock.nowNs() + Math.ceil(4 * characterNs));
    } else {
      this.#timeout.cancel();
    }
  }

  #fifosEnabled(): boolean {
    return (this.#fcr & FCR.enable) !== 0;
  }

  #depth(): number {
    return this.#fifosEnabled() ? FIFO_BYTES : 1;
  }

  #triggerLevel(): number {
    return this.#fifosEnabled() ? (TRIGGER_LEVELS[this.#fcr >> 6] ?? 1) : 1;
  }

  /** Highest-priority pending and enabled cause, as IIR bits 0..3 (table II). */
  #interruptId(): number {
    const ier = this.#ier;
    if ((ier & IER.lineStatus) !== 0 && this.#lsrErrors !== 0) return IIR.lineStatus;
    if ((ier & IER.received) !== 0) {
      if (this.#fifo.length >= this.#triggerLevel()) return IIR.received;
      if (this.#timeoutPending) return IIR.timeout;
    }
    if ((ier & IER.transmitterEmpty) !== 0 && this.#transmitterEmptyPending) return IIR.transmitterEmpty;
    if ((ier & IER.modemStatus) !== 0 && (this.#msr & 0x0f) !== 0) return IIR.modemStatus;
    return IIR.none;
  }

  #updateIrq(): void {
    // In loopback the output pins are inactive, OUT2 among them.
    const gated = (this.#mcr & (MCR.out2 | MCR.loop)) === MCR.out2;
    this.#irq.set(gated && this.#interruptId() !== IIR.none);
  }
}
