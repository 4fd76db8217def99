/**
 * An addon without a processor, loaded through VMDECK_NATIVE_PATH: its "guests" are generators that yield exits. With it
 * the VM process, its socket and the command line are tested as they are, whatever the state of the engine.
 * VMDECK_FAKE_GUEST chooses the guest. It grants every lock and punches no hole, as on a system that can do neither.
 */
const EXIT = { io: 0, hlt: 2, budget: 6, shutdown: 8 };
const COM1 = { data: 0x3f8, lsr: 0x3fd };
const ALL_ONES = 0xffff_ffff;
const NS_PER_INSTRUCTION = 10;

const out = (port, data, size = 1) => ({ kind: EXIT.io, isWrite: 1, size, port, data });
const input = (port) => ({ kind: EXIT.io, isWrite: 0, size: 1, port, data: 0 });

function* print(text) {
  for (const byte of Buffer.from(text)) yield out(COM1.data, byte);
}

/** Echoes what it is sent; some keys end it in the ways a guest can end. */
function* echo() {
  yield* print("ready\n");
  for (;;) {
    const status = yield input(COM1.lsr);
    if ((status & 1) === 0) {
      yield { kind: EXIT.hlt, sleepNs: 1_000_000 };
      continue;
    }
    const key = String.fromCharCode(yield input(COM1.data));
    if (key === "q") yield out(0x604, 0x3400, 2);
    if (key === "r") yield out(0xcf9, 6);
    if (key === "x") yield out(0xf4, 5);
    if (key === "c") yield { kind: EXIT.shutdown };
    if (key === "!") throw new Error("VM_INTERNAL: the engine is broken");
    if (key === "k") process.kill(process.pid, "SIGKILL");
    yield* print(key);
  }
}

const GUESTS = {
  echo,
  /** Writes a megabyte of known bytes, then powers off. */
  *flood() {
    for (let i = 0; i < 1024 * 1024; i++) yield out(COM1.data, i % 251);
    yield out(0x604, 0x3400, 2);
  },
  /** Writes for ever. */
  *endless() {
    for (;;) yield* print("all work and no play\n");
  },
  /** Computes for ever. */
  *spin() {
    for (;;) yield { kind: EXIT.budget };
  },
};

class NativeMachine {
  constructor(optionsJson, page) {
    this.options = JSON.parse(optionsJson);
    this.page = page;
    this.ns = 0;
    this.count = 0;
    this.wakeNs = 0;
    this.exits = new Array(10).fill(0);
    this.reset();
  }

  runner() {
    return () => this.run(this.page[16]);
  }

  run(quantum) {
    const { value } = this.guest.next(this.page[6]);
    const retired = value.kind === EXIT.budget ? quantum : 1;
    this.count += retired;
    this.ns += retired * NS_PER_INSTRUCTION;
    if (value.kind === EXIT.hlt) this.wakeNs = this.ns + value.sleepNs;
    this.exits[value.kind] += 1;
    this.page.fill(0);
    this.page[0] = value.kind;
    this.page[2] = value.isWrite ?? 0;
    this.page[3] = value.size ?? 0;
    this.page[4] = value.port ?? 0;
    this.page[6] = value.data ?? 0;
    this.store(9, this.count);
    this.store(11, this.ns);
    if (value.kind === EXIT.hlt) this.store(13, this.wakeNs);
    else this.page.fill(ALL_ONES, 13, 15);
  }

  store(word, number) {
    this.page[word] = number % 2 ** 32;
    this.page[word + 1] = Math.floor(number / 2 ** 32);
  }

  reset() {
    this.guest = GUESTS[process.env.VMDECK_FAKE_GUEST ?? "echo"]();
  }
  anchorClock(ns) {
    this.ns = ns;
  }
  guestNs() {
    return this.ns;
  }
  instructions() {
    return this.count;
  }
  setRegistersJson(_vcpu, json) {
    this.registers = json;
  }
  registersJson() {
    return this.registers;
  }
  statsJson() {
    return JSON.stringify({
      instructions: this.count,
      interruptsDelivered: 0,
      exceptionsDelivered: 0,
      blocksDecoded: 0,
      blocksInvalidated: 0,
      tlbMisses: 0,
      exits: this.exits,
    });
  }
  lastError() {
    return "";
  }
  dump() {
    return "RAX=0123456789abcdef";
  }
  deliver() {
    return true;
  }
  readMemory() {
    return true;
  }
  writeMemory() {
    return true;
  }
  kick() {}
  enterVirtualWire() {}
  mapRam() {}
  mapRom() {}
  mapReadDirect() {}
  mapMmio() {}
  setIntr() {}
  nmi() {}
  close() {}
}

module.exports = {
  NativeMachine,
  engineInfo: () =>
    JSON.stringify({ version: "fake", arch: "none", os: "none", engines: [], cpuModels: [], hostFeatures: [] }),
  lockFile: () => true,
  punchHole: async () => false,
};
