import { beforeEach, describe, expect, it } from "vitest";
import { PortBus } from "../../src/bus/ports.js";
import { Uart16550 } from "../../src/devices/uart16550.js";
import { randomPortTraffic, resume } from "./port-traffic.js";
import { VirtualContext } from "./virtual-context.js";

const BASE = 0x3f8;
const IRQ = 4;
const [DATA, IER, IIR, FCR, LCR, MCR, LSR, MSR, SCRATCH] = [0, 1, 2, 2, 3, 4, 5, 6, 7];

let context: VirtualContext;
let sent: number[];
let uart: Uart16550;

const makeUart = () =>
  new Uart16550(context, {
    name: "serial0",
    basePort: BASE,
    irq: IRQ,
    sink: { write: (bytes) => sent.push(...bytes) },
  });
const write = (register: number, value: number) => uart.writePort(BASE + register, 1, value);
const read = (register: number) => uart.readPort(BASE + register, 1);
const readAll = () => {
  const bytes: number[] = [];
  while ((read(LSR) & 1) !== 0) bytes.push(read(DATA));
  return bytes;
};
const text = (bytes: number[]) => String.fromCharCode(...bytes);

/** 115,200 8N1, modem outputs on, interrupts connected. */
function open(fcr = 0xc1): void {
  write(LCR, 0x83);
  write(DATA, 1);
  write(IER, 0);
  write(LCR, 0x03);
  write(FCR, fcr);
  write(MCR, 0x0b);
}

beforeEach(() => {
  context = new VirtualContext();
  sent = [];
  uart = makeUart();
});

describe("registers", () => {
  it("shows the divisor behind DLAB and nowhere else", () => {
    write(LCR, 0x80);
    write(DATA, 0x34);
    write(IER, 0x12);
    expect([read(DATA), read(IER)]).toEqual([0x34, 0x12]);
    write(LCR, 0x03);
    expect([read(DATA), read(IER), read(LCR)]).toEqual([0, 0, 3]);
    expect(sent).toEqual([]);
  });

  it("keeps the scratch register and the writable bits of IER and MCR", () => {
    write(SCRATCH, 0xa5);
    write(IER, 0xff);
    write(MCR, 0xff);
    expect([read(SCRATCH), read(IER), read(MCR)]).toEqual([0xa5, 0x0f, 0x1f]);
  });

  it("tells a 16550A by its IIR", () => {
    expect(read(IIR)).toBe(0x01);
    write(FCR, 0x01);
    expect(read(IIR)).toBe(0xc1);
    write(FCR, 0xc0);
    expect(read(IIR)).toBe(0x01);
  });

  it("claims its eight ports", () => {
    const bus = new PortBus((_device, error) => {
      throw error;
    });
    uart.attach(bus);
    bus.write(BASE + SCRATCH, 1, 0x77);
    expect(bus.read(BASE + SCRATCH, 1)).toBe(0x77);
  });
});

describe("transmission", () => {
  it("hands each byte to the sink at once and is empty again", () => {
    open();
    for (const byte of [72, 105]) write(DATA, byte);
    expect(text(sent)).toBe("Hi");
    expect(read(LSR)).toBe(0x60);
  });

  it("interrupts when enabled while empty, until IIR is read", () => {
    open();
    write(IER, 0x02);
    expect(context.irqLevel(IRQ)).toBe(true);
    expect(read(IIR)).toBe(0xc2);
    expect(context.irqLevel(IRQ)).toBe(false);
    expect(read(IIR)).toBe(0xc1);
  });

  it("makes a fresh edge for each byte written with the interrupt pending", () => {
    open();
    write(IER, 0x02);
    const before = context.risingEdges(IRQ);
    write(DATA, 65);
    write(DATA, 66);
    expect(context.risingEdges(IRQ)).toBe(before + 2);
    expect(read(IIR)).toBe(0xc2);
  });

  it("interrupts only through OUT2", () => {
    write(IER, 0x02);
    expect(context.irqLevel(IRQ)).toBe(false);
    write(MCR, 0x08);
    expect(context.irqLevel(IRQ)).toBe(true);
    write(MCR, 0x18);
    expect(context.irqLevel(IRQ)).toBe(false);
  });
});

describe("reception", () => {
  it("queues without limit and loses nothing", () => {
    open();
    const message = "0123456789".repeat(1000);
    context.inputs.send("serial0", message.slice(0, 7));
    context.inputs.send("serial0", message.slice(7));
    expect(text(readAll())).toBe(message);
    expect(read(LSR)).toBe(0x60);
  });

  it("interrupts at the trigger level and stops below it", () => {
    open(0x81);
    write(IER, 0x01);
    context.inputs.send("serial0", "1234567");
    expect(context.irqLevel(IRQ)).toBe(false);
    context.inputs.send("serial0", "8");
    expect(context.irqLevel(IRQ)).toBe(true);
    expect(read(IIR)).toBe(0xc4);
    read(DATA);
    expect(context.irqLevel(IRQ)).toBe(false);
  });

  it("interrupts below the trigger level after four silent character times", () => {
    open(0xc1);
    write(IER, 0x01);
    context.clock.advanceTo(1_000_000);
    context.inputs.send("serial0", "ab");
    // 8N1 at 115,200 bit/s: 40 bit times.
    const fourCharactersNs = (40 * 1e9) / 115_200;
    context.clock.advance(Math.floor(fourCharactersNs) - 1);
    expect(read(IIR)).toBe(0xc1);
    context.clock.advance(2);
    expect(context.irqLevel(IRQ)).toBe(true);
    expect(read(IIR)).toBe(0xcc);
    read(DATA);
    expect(context.irqLevel(IRQ)).toBe(false);
    context.clock.advance(Math.ceil(fourCharactersNs));
    expect(read(IIR)).toBe(0xcc);
    read(DATA);
    expect(context.clock.armed()).toEqual([]);
    expect(read(IIR)).toBe(0xc1);
  });

  it("works with one byte where FIFOs are off", () => {
    open(0);
    write(IER, 0x01);
    context.inputs.send("serial0", "xy");
    expect(read(IIR)).toBe(0x04);
    expect(read(DATA)).toBe(120);
    expect(read(IIR)).toBe(0x04);
    expect(read(DATA)).toBe(121);
    expect(read(IIR)).toBe(0x01);
  });

  it("delivers to a guest that polls and never sets up the modem lines", () => {
    context.inputs.send("serial0", "boot");
    expect(text(readAll())).toBe("boot");
  });

  it("loses no input that was sent before the driver opened the port", () => {
    context.inputs.send("serial0", "root\n");
    // Probing as drivers do: loopback test, FIFO tests and clears, flushing reads, all with RTS down at the end.
    write(MCR, 0x1a);
    write(MCR, 0x00);
    for (const fcr of [0x00, 0x01, 0x07, 0x00]) write(FCR, fcr);
    read(DATA);
    read(LSR);
    open();
    write(IER, 0x05);
    expect(text(readAll())).toBe("root\n");
  });

  it("holds input back while RTS is down", () => {
    open();
    context.inputs.send("serial0", "a".repeat(20));
    write(MCR, 0x09);
    expect(read(LSR) & 1).toBe(0);
    write(MCR, 0x0b);
    expect(readAll()).toHaveLength(20);
  });

  it("drops what stands in the FIFO when the open port clears it", () => {
    open();
    context.inputs.send("serial0", "0123456789abcdefX");
    write(FCR, 0xc3);
    expect(text(readAll())).toBe("X");
  });
});

describe("loopback and modem lines", () => {
  it("sees a ready peer", () => {
    expect(read(MSR)).toBe(0xb0);
  });

  it("loops the modem outputs to the inputs with deltas", () => {
    write(MCR, 0x10);
    expect(read(MSR)).toBe(0x0b);
    write(MCR, 0x1f);
    expect(read(MSR)).toBe(0xfb);
    write(MCR, 0x1b);
    expect(read(MSR)).toBe(0xb4);
    expect(read(MSR)).toBe(0xb0);
  });

  it("loops data back and keeps it off the line", () => {
    open();
    write(MCR, 0x12);
    write(DATA, 0x5a);
    expect(read(LSR)).toBe(0x61);
    expect(read(DATA)).toBe(0x5a);
    expect(sent).toEqual([]);
  });

  it("overruns in loopback: newest lost with FIFOs, oldest without", () => {
    write(IER, 0x04);
    write(MCR, 0x10);
    write(DATA, 1);
    write(DATA, 2);
    expect(read(IIR)).toBe(0x06);
    expect(read(LSR)).toBe(0x63);
    expect(read(LSR)).toBe(0x61);
    expect(read(DATA)).toBe(2);
    write(FCR, 0x01);
    for (let i = 0; i < 17; i++) write(DATA, i);
    expect(read(LSR) & 0x02).toBe(0x02);
    expect(readAll()).toEqual(Array.from({ length: 16 }, (_, i) => i));
  });

  it("keeps looped bytes out of the input from outside", () => {
    open();
    write(MCR, 0x12);
    write(DATA, 0x21);
    context.inputs.send("serial0", "z");
    write(MCR, 0x00);
    write(MCR, 0x0b);
    expect(readAll()).toEqual([0x21, 122]);
  });

  it("interrupts on a change of the modem lines, after all else", () => {
    write(IER, 0x0a);
    write(MCR, 0x10);
    expect(read(IIR)).toBe(0x02);
    expect(read(IIR)).toBe(0x00);
    read(MSR);
    expect(read(IIR)).toBe(0x01);
  });
});

describe("robustness", () => {
  it("stands random traffic", () => {
    for (let i = 0; i < 50; i++) context.inputs.send("serial0", "some input");
    const ports = Array.from({ length: 8 }, (_, i) => BASE + i);
    randomPortTraffic(uart, ports, context, 2);
  });

  it("resumes with unread input and a running timeout", () => {
    open();
    write(IER, 0x01);
    context.inputs.send("serial0", "0123456789");
    uart = resume(uart, context, makeUart);
    expect(context.irqLevel(IRQ)).toBe(false);
    context.clock.advance(1_000_000);
    expect(read(IIR)).toBe(0xcc);
    context.inputs.send("serial0", "and more after the resume");
    uart = resume(uart, context, makeUart);
    expect(text(readAll())).toBe("0123456789and more after the resume");
  });

  it("keeps unread input over a reset", () => {
    open();
    context.inputs.send("serial0", "kept");
    uart.reset();
    expect(text(readAll())).toBe("kept");
  });
});
