import { beforeEach, describe, expect, it } from "vitest";
import { I8042 } from "../../src/devices/i8042.js";
import { A20Gate } from "../../src/devices/system-control.js";
import { randomPortTraffic, resume } from "./port-traffic.js";
import { VirtualContext } from "./virtual-context.js";

const [DATA, STATUS] = [0x60, 0x64];
const [KEYBOARD_IRQ, AUX_IRQ] = [1, 12];
const [OUTPUT_FULL, COMMAND, AUX_DATA] = [0x01, 0x08, 0x20];

let context: VirtualContext;
let a20: A20Gate;
let i8042: I8042;

const makeI8042 = () => new I8042(context, a20);
const command = (value: number) => i8042.writePort(STATUS, 1, value);
const data = (value: number) => i8042.writePort(DATA, 1, value);
const status = () => i8042.readPort(STATUS, 1);
const readData = () => i8042.readPort(DATA, 1);
/** All bytes that wait, as a driver fetches them. */
const fetch = () => {
  const bytes: number[] = [];
  while ((status() & OUTPUT_FULL) !== 0) bytes.push(readData());
  return bytes;
};
const ask = (value: number) => {
  command(value);
  return fetch();
};
const configure = (value: number) => {
  command(0x60);
  data(value);
};
const keyboard = (...bytes: number[]) =>
  bytes.flatMap((byte) => {
    data(byte);
    return fetch();
  });
const mouse = (...bytes: number[]) =>
  bytes.flatMap((byte) => {
    command(0xd4);
    data(byte);
    return fetch();
  });

beforeEach(() => {
  context = new VirtualContext();
  a20 = new A20Gate();
  i8042 = makeI8042();
});

describe("controller", () => {
  it("passes its self test and those of its interfaces", () => {
    expect([ask(0xaa), ask(0xab), ask(0xa9)]).toEqual([[0x55], [0x00], [0x00]]);
    expect(status() & 0x04).toBe(0x04);
  });

  it("shows in the configuration byte which interfaces are open", () => {
    configure(0x47);
    expect(ask(0x20)).toEqual([0x47]);
    command(0xad);
    command(0xa7);
    expect(ask(0x20)).toEqual([0x77]);
    command(0xae);
    command(0xa8);
    expect(ask(0x20)).toEqual([0x47]);
  });

  it("keeps its RAM", () => {
    command(0x65);
    data(0xa5);
    expect(ask(0x25)).toEqual([0xa5]);
  });

  it("tells a command from data in its status", () => {
    command(0xc0);
    expect(status() & COMMAND).toBe(COMMAND);
    expect(fetch()).toEqual([0x80]);
    data(0xee);
    expect(status() & COMMAND).toBe(0);
  });

  it("moves the A20 gate by the output port and shows it there", () => {
    expect((ask(0xd0)[0] ?? 0) & 0x03).toBe(0x03);
    command(0xd1);
    data(0xdd);
    expect(a20.enabled).toBe(false);
    expect((ask(0xd0)[0] ?? 0) & 0x03).toBe(0x01);
    command(0xd1);
    data(0xdf);
    expect(a20.enabled).toBe(true);
    expect(context.powerEvents).toEqual([]);
  });

  it("resets the machine by pulsing line 0 and by the output port", () => {
    command(0xff);
    expect(context.powerEvents).toEqual([]);
    command(0xfe);
    command(0xd1);
    data(0x02);
    expect(context.powerEvents.map((event) => event.kind)).toEqual(["reset", "reset"]);
  });

  it("loops bytes through either output buffer, with the interrupt that belongs to it", () => {
    configure(0x03);
    command(0xd2);
    data(0x1e);
    expect(context.irqLevel(KEYBOARD_IRQ)).toBe(true);
    expect(status() & (OUTPUT_FULL | AUX_DATA)).toBe(OUTPUT_FULL);
    expect(readData()).toBe(0x1e);
    expect(context.irqLevel(KEYBOARD_IRQ)).toBe(false);
    command(0xd3);
    data(0x5a);
    expect(context.irqLevel(AUX_IRQ)).toBe(true);
    expect(status() & (OUTPUT_FULL | AUX_DATA)).toBe(OUTPUT_FULL | AUX_DATA);
    expect(readData()).toBe(0x5a);
    expect(context.irqLevel(AUX_IRQ)).toBe(false);
    expect(context.risingEdges(KEYBOARD_IRQ) + context.risingEdges(AUX_IRQ)).toBe(2);
  });

  it("reads the last byte again when nothing waits", () => {
    ask(0xaa);
    expect(readData()).toBe(0x55);
    expect(status() & OUTPUT_FULL).toBe(0);
  });

  it("warns of commands it does not know", () => {
    command(0x9f);
    expect(fetch()).toEqual([]);
    expect(context.warnings).toHaveLength(1);
  });
});

describe("keyboard", () => {
  it("resets, identifies itself and echoes", () => {
    configure(0x00);
    expect(keyboard(0xff)).toEqual([0xfa, 0xaa]);
    expect(keyboard(0xf2)).toEqual([0xfa, 0xab, 0x83]);
    expect(keyboard(0xee)).toEqual([0xee]);
  });

  it("is translated where the controller does so", () => {
    configure(0x40);
    expect(keyboard(0xf2)).toEqual([0xfa, 0xab, 0x41]);
    expect(keyboard(0xf0, 0x00)).toEqual([0xfa, 0xfa, 0x41]);
  });

  it("takes LEDs, rates and scan code sets, and refuses a set it does not have", () => {
    configure(0x00);
    expect(keyboard(0xed, 0x07, 0xf3, 0x20)).toEqual([0xfa, 0xfa, 0xfa, 0xfa]);
    expect(keyboard(0xf0, 0x07)).toEqual([0xfa, 0xfe]);
    expect(keyboard(0x01)).toEqual([0xfa]);
    expect(keyboard(0xf0, 0x00)).toEqual([0xfa, 0xfa, 0x01]);
    expect(keyboard(0xf6, 0xf0, 0x00)).toEqual([0xfa, 0xfa, 0xfa, 0x02]);
  });

  it("asks for unknown commands again, and repeats itself when asked", () => {
    configure(0x00);
    expect(keyboard(0x55)).toEqual([0xfe]);
    expect(keyboard(0xf4, 0xfe)).toEqual([0xfa, 0xfa]);
  });

  it("makes an edge for each byte of an answer", () => {
    configure(0x01);
    data(0xf2);
    for (let i = 1; i <= 3; i++) {
      expect(context.risingEdges(KEYBOARD_IRQ)).toBe(i);
      readData();
    }
    expect(context.irqLevel(KEYBOARD_IRQ)).toBe(false);
  });

  it("keeps its answer back while its interface is disabled", () => {
    configure(0x00);
    data(0xf2);
    expect(readData()).toBe(0xfa);
    expect(readData()).toBe(0xab);
    command(0xad);
    expect(readData()).toBe(0x83);
    data(0xf4);
    expect(fetch()).toEqual([0xfa]);
  });
});

describe("mouse", () => {
  it("resets and identifies itself, its bytes marked as auxiliary", () => {
    command(0xd4);
    data(0xff);
    expect(status() & AUX_DATA).toBe(AUX_DATA);
    expect(fetch()).toEqual([0xfa, 0xaa, 0x00]);
    expect(mouse(0xf2)).toEqual([0xfa, 0x00]);
  });

  it("reports its settings", () => {
    expect(mouse(0xe9)).toEqual([0xfa, 0x00, 2, 100]);
    mouse(0xe8, 3, 0xf3, 200, 0xe7, 0xf4, 0xf0);
    expect(mouse(0xe9)).toEqual([0xfa, 0x70, 3, 200]);
    mouse(0xf6);
    expect(mouse(0xe9)).toEqual([0xfa, 0x00, 2, 100]);
  });

  it("lies still", () => {
    mouse(0xf4);
    context.clock.advance(10e9);
    expect(fetch()).toEqual([]);
    expect(mouse(0xeb)).toEqual([0xfa, 0x08, 0, 0]);
  });

  it("echoes in wrap mode until told otherwise", () => {
    mouse(0xee);
    expect(mouse(0x12, 0xf2)).toEqual([0x12, 0xf2]);
    expect(mouse(0xec)).toEqual([0xfa]);
    expect(mouse(0xf2)).toEqual([0xfa, 0]);
  });

  it("waits while the keyboard's byte stands in the buffer", () => {
    configure(0x03);
    data(0xee);
    command(0xd4);
    data(0xf2);
    expect(status() & AUX_DATA).toBe(0);
    expect(readData()).toBe(0xee);
    expect(status() & AUX_DATA).toBe(AUX_DATA);
    expect(fetch()).toEqual([0xfa, 0x00]);
  });
});

describe("robustness", () => {
  it("stands random traffic", () => {
    randomPortTraffic(i8042, [DATA, STATUS], context, 10);
  });

  it("resumes in the middle of an answer and of a command", () => {
    configure(0x01);
    data(0xf2);
    readData();
    command(0xd1);
    i8042 = resume(i8042, context, makeI8042);
    expect(context.irqLevel(KEYBOARD_IRQ)).toBe(true);
    data(0xdd);
    expect(a20.enabled).toBe(false);
    expect(fetch()).toEqual([0xab, 0x83]);
  });

  it("is idle after reset", () => {
    configure(0x03);
    data(0xf2);
    i8042.reset();
    expect(status() & OUTPUT_FULL).toBe(0);
    expect(context.irqLevel(KEYBOARD_IRQ)).toBe(false);
  });
});
