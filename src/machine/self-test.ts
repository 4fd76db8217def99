/**
 * Measures the engine: runs a small loop of loads, adds, stores and branches for a given time. What `vmdeck doctor`
 * reports; run in a process of its own, like every guest.
 */
import { VmError } from "../errors.js";
import { createEngine } from "../native/addon-engine.js";
import { type Engine, EXIT, type Registers } from "../native/engine.js";

const MEMORY_BYTES = 1024 * 1024;
const CODE = 0x1_0000;
const DATA = 0x2_0000;
const QUANTUM = 1_000_000;
/** mov eax,[ebx]; add eax,ecx; mov [ebx],eax; dec ecx; jnz back to the start; jmp back. */
const LOOP = Uint8Array.of(0x8b, 0x03, 0x01, 0xc8, 0x89, 0x03, 0x49, 0x75, 0xf7, 0xeb, 0xf5);
const CR0_PROTECTED = 0x11n;
const CODE_32 = 0xc09b;
const DATA_32 = 0xc093;
const LDT = 0x82;
const BUSY_TSS_32 = 0x8b;

export interface EngineSpeed {
  readonly instructions: number;
  readonly milliseconds: number;
}

/**
 * Runs the loop for about `milliseconds` of host time.
 * @throws VmError as `createEngine`, and VM_INTERNAL when the loop does not run as it must.
 */
export function measureEngine(milliseconds: number): EngineSpeed {
  const engine = createEngine({
    memoryBytes: MEMORY_BYTES,
    cpus: 1,
    cpuModel: "x86-64-v2@1",
    vendor: "GenuineIntel",
    features: [],
    engine: "interp",
  });
  try {
    return run(engine, milliseconds);
  } finally {
    engine.close();
  }
}

function run(engine: Engine, milliseconds: number): EngineSpeed {
  engine.mapRam(0, MEMORY_BYTES, 0);
  engine.writeMemory(CODE, LOOP);
  engine.setRegisters(0, entryRegisters());
  const start = performance.now();
  let elapsed = 0;
  while (elapsed < milliseconds) {
    const kind = engine.run(0, QUANTUM, Number.POSITIVE_INFINITY);
    if (kind !== EXIT.budget) {
      throw new VmError("VM_INTERNAL", `the self-test loop left by exit ${kind}: ${engine.lastError()}`, {
        hint: "rebuild the addon with `npm run build:native`",
      });
    }
    elapsed = performance.now() - start;
  }
  return { instructions: engine.instructions(), milliseconds: elapsed };
}

/** 32-bit protected mode with flat segments and no paging. */
function entryRegisters(): Registers {
  const flat = (selector: number, attributes: number) => ({ selector, base: 0n, limit: 0xffff_ffff, attributes });
  const [code, data] = [flat(0x08, CODE_32), flat(0x10, DATA_32)];
  const gpr = new Array<bigint>(16).fill(0n);
  gpr[3] = BigInt(DATA);
  return {
    gpr,
    rip: BigInt(CODE),
    rflags: 2n,
    cr0: CR0_PROTECTED,
    cr2: 0n,
    cr3: 0n,
    cr4: 0n,
    cr8: 0n,
    efer: 0n,
    apicBase: 0xfee0_0900n,
    segments: [
      data,
      code,
      data,
      data,
      data,
      data,
      { ...flat(0, LDT), limit: 0xffff },
      { ...flat(0, BUSY_TSS_32), limit: 0x67 },
    ],
    gdtr: { base: 0n, limit: 0 },
    idtr: { base: 0n, limit: 0 },
  };
}
