/**
 * One counter of the 8254 (Intel 8254 datasheet, 231164, "Mode definitions" and "Programming the 8254"), as a function
 * of its input clock's tick number: count and output are computed when asked for, nothing runs in between.
 *
 * A count written is loaded by the next clock pulse; in modes 2 and 3, at the end of the current (half) period.
 * Modes: 0 interrupt on terminal count, 1 one-shot, 2 rate generator, 3 square wave, 4 and 5 strobes (5 by trigger).
 */
import type { SavedState } from "./saved-state.js";

/** Control word bits 5..4. */
const ACCESS = { low: 1, high: 2, lowThenHigh: 3 } as const;
const STATUS_OUT = 0x80;
const STATUS_NULL_COUNT = 0x40;

export class PitCounter {
  #mode = 0;
  #access: number = ACCESS.lowThenHigh;
  #bcd = false;
  #gate: boolean;

  /** Count register as last written whole, as a number of ticks; undefined since the control word. */
  #written: number | undefined;
  /** Modes 1 and 5: a count has been written since the last trigger. */
  #untriggered = false;
  /** Ticks of the count being counted, 1..65536. */
  #count = 0;
  /** Tick at which the counting element was (or will be) loaded; undefined while nothing is to be counted. */
  #start: number | undefined;
  /** Ticks already counted when the gate stopped the counting (modes 0 and 4). */
  #paused: number | undefined;
  /** Modes 2 and 3: the tick at which the count register takes over, and the half it begins with. */
  #reload: number | undefined;
  #reloadLow = false;
  /** Mode 3: the period begun at #start has its low half first. Mode 1: OUT was low already when triggered. */
  #lowFirst = false;

  #lowByte: number | undefined;
  #readHigh = false;
  #latchedCount: number | undefined;
  #latchedStatus: number | undefined;

  constructor(gate: boolean) {
    this.#gate = gate;
  }

  /** Control word for this counter: access in bits 5..4 (not 0), mode in 3..1, BCD in 0. */
  writeControl(value: number): void {
    const mode = (value >> 1) & 7;
    // Bit 2 of the mode is ignored where bit 1 is set.
    this.#mode = mode > 5 ? mode - 4 : mode;
    this.#access = (value >> 4) & 3;
    this.#bcd = (value & 1) !== 0;
    this.#written = undefined;
    this.#untriggered = false;
    this.#start = undefined;
    this.#paused = undefined;
    this.#reload = undefined;
    this.#lowFirst = false;
    this.#lowByte = undefined;
    this.#readHigh = false;
    this.#latchedCount = undefined;
    this.#latchedStatus = undefined;
  }

  /** A byte of the count. */
  write(tick: number, value: number): void {
    if (this.#access === ACCESS.lowThenHigh && this.#lowByte === undefined) {
      this.#lowByte = value;
      // Mode 0: the first byte stops the counting and takes OUT low.
      if (this.#mode === 0) this.#start = undefined;
      return;
    }
    const register = this.#access === ACCESS.low ? value : (value << 8) | (this.#lowByte ?? 0);
    this.#lowByte = undefined;
    this.#written = this.#ticksOf(register);
    this.#afterWrite(tick, this.#written);
  }

  /** A byte of the latched status, the latched count or the running count. */
  read(tick: number): number {
    if (this.#latchedStatus !== undefined) {
      const status = this.#latchedStatus;
      this.#latchedStatus = undefined;
      return status;
    }
    const register = this.#latchedCount ?? this.#registerAt(tick);
    if (this.#access === ACCESS.lowThenHigh && !this.#readHigh) {
      this.#readHigh = true;
      return register & 0xff;
    }
    this.#readHigh = false;
    this.#latchedCount = undefined;
    return this.#access === ACCESS.low ? register & 0xff : register >> 8;
  }

  /** Holds the count until read; a count already held stays. */
  latchCount(tick: number): void {
    this.#latchedCount ??= this.#registerAt(tick);
  }

  /** Holds the status until read; a status already held stays. */
  latchStatus(tick: number): void {
    if (this.#latchedStatus !== undefined) return;
    const out = this.output(tick) ? STATUS_OUT : 0;
    const nullCount = this.#isLoaded(tick) ? 0 : STATUS_NULL_COUNT;
    this.#latchedStatus = out | nullCount | (this.#access << 4) | (this.#mode << 1) | (this.#bcd ? 1 : 0);
  }

  setGate(tick: number, high: boolean): void {
    if (high === this.#gate) return;
    this.#settle(tick);
    this.#gate = high;
    switch (this.#mode) {
      case 0:
      case 4:
        this.#pause(tick, !high);
        break;
      case 2:
      case 3:
        this.#start = undefined;
        this.#reload = undefined;
        if (high && this.#written !== undefined) this.#load(tick, this.#written);
        break;
      default:
        if (high && this.#written !== undefined) this.#trigger(tick, this.#written);
        break;
    }
  }

  /** Level of OUT. */
  output(tick: number): boolean {
    this.#settle(tick);
    const elapsed = this.#elapsed(tick);
    switch (this.#mode) {
      case 0:
        return elapsed !== undefined && elapsed >= this.#count;
      case 1:
        return elapsed === undefined || elapsed >= this.#count || (elapsed < 0 && !this.#lowFirst);
      case 2:
        return elapsed === undefined || elapsed < 0 || elapsed % this.#count !== this.#count - 1;
      case 3:
        return elapsed === undefined || elapsed < 0 || elapsed % this.#count < this.#firstHalf() !== this.#lowFirst;
      default:
        return elapsed !== this.#count;
    }
  }

  /** The next tick after `tick` at which OUT rises, or undefined if it does not by itself. */
  nextRise(tick: number): number | undefined {
    this.#settle(tick);
    const elapsed = this.#elapsed(tick);
    if (this.#start === undefined || elapsed === undefined || this.#paused !== undefined) return undefined;
    switch (this.#mode) {
      case 0:
      case 1:
        return elapsed < this.#count ? this.#start + this.#count : undefined;
      case 2:
      case 3:
        return this.#nextPeriodicRise(tick, this.#start);
      default:
        return elapsed <= this.#count ? this.#start + this.#count + 1 : undefined;
    }
  }

  save(): { [key: string]: number | boolean | null } {
    return {
      mode: this.#mode,
      access: this.#access,
      bcd: this.#bcd,
      gate: this.#gate,
      written: this.#written ?? null,
      untriggered: this.#untriggered,
      count: this.#count,
      start: this.#start ?? null,
      paused: this.#paused ?? null,
      reload: this.#reload ?? null,
      reloadLow: this.#reloadLow,
      lowFirst: this.#lowFirst,
      lowByte: this.#lowByte ?? null,
      readHigh: this.#readHigh,
      latchedCount: this.#latchedCount ?? null,
      latchedStatus: this.#latchedStatus ?? null,
    };
  }

  load(saved: SavedState): void {
    this.#mode = saved.integer("mode", 0, 5);
    this.#access = saved.integer("access", ACCESS.low, ACCESS.lowThenHigh);
    this.#bcd = saved.boolean("bcd");
    this.#gate = saved.boolean("gate");
    this.#written = saved.optionalNumber("written");
    this.#untriggered = saved.boolean("untriggered");
    this.#count = saved.integer("count", 0, 0x1_0000);
    this.#start = saved.optionalNumber("start");
    this.#paused = saved.optionalNumber("paused");
    this.#reload = saved.optionalNumber("reload");
    this.#reloadLow = saved.boolean("reloadLow");
    this.#lowFirst = saved.boolean("lowFirst");
    this.#lowByte = saved.optionalNumber("lowByte");
    this.#readHigh = saved.boolean("readHigh");
    this.#latchedCount = saved.optionalNumber("latchedCount");
    this.#latchedStatus = saved.optionalNumber("latchedStatus");
  }

  #afterWrite(tick: number, count: number): void {
    this.#settle(tick);
    switch (this.#mode) {
      case 0:
      case 4:
        this.#load(tick, count);
        this.#pause(tick, !this.#gate);
        break;
      case 2:
      case 3:
        if (this.#start === undefined) {
          if (this.#gate) this.#load(tick, count);
        } else if (tick < this.#start) {
          this.#count = count;
        } else {
          this.#reload ??= this.#nextReload(tick, this.#start);
        }
        break;
      default:
        this.#untriggered = true;
        break;
    }
  }

  /** The next clock pulse loads `count` and counting begins. */
  #load(tick: number, count: number): void {
    this.#count = count;
    this.#start = tick + 1;
    this.#paused = undefined;
    this.#reload = undefined;
    this.#lowFirst = false;
    this.#untriggered = false;
  }

  #trigger(tick: number, count: number): void {
    const wasLow = !this.output(tick);
    this.#load(tick, count);
    this.#lowFirst = wasLow;
  }

  #pause(tick: number, pause: boolean): void {
    if (this.#start === undefined) return;
    if (pause) this.#paused ??= Math.max(tick - this.#start, 0);
    else if (this.#paused !== undefined) {
      this.#start = tick - this.#paused;
      this.#paused = undefined;
    }
  }

  /** Carries out a reload that has come due. */
  #settle(tick: number): void {
    if (this.#reload === undefined || tick < this.#reload || this.#written === undefined) return;
    this.#start = this.#reload;
    this.#count = this.#written;
    this.#lowFirst = this.#reloadLow;
    this.#reload = undefined;
  }

  /** Where the current period (mode 2) or half period (mode 3) ends. */
  #nextReload(tick: number, start: number): number {
    const phase = (tick - start) % this.#count;
    const periodStart = tick - phase;
    this.#reloadLow = this.#lowFirst;
    if (this.#mode === 3 && phase < this.#firstHalf()) {
      this.#reloadLow = !this.#lowFirst;
      return periodStart + this.#firstHalf();
    }
    return periodStart + this.#count;
  }

  #nextPeriodicRise(tick: number, start: number): number {
    const phase = tick < start ? 0 : (tick - start) % this.#count;
    const periodStart = Math.max(tick, start) - phase;
    const middle = periodStart + this.#firstHalf();
    if (this.#mode === 3 && this.#lowFirst) {
      if (tick < middle) return middle;
      // A pending reload shortens or stretches what follows; its own half begins at #reload.
      if (this.#reload !== undefined) return this.#reload + this.#lowHalf(this.#written ?? this.#count);
      return middle + this.#count;
    }
    if (this.#mode === 3 && this.#reload !== undefined && this.#reload === middle) {
      return middle + this.#lowHalf(this.#written ?? this.#count);
    }
    return periodStart + this.#count;
  }

  /** Mode 3: an odd count stays high one tick longer than low. */
  #firstHalf(): number {
    return this.#lowFirst ? this.#lowHalf(this.#count) : this.#count - this.#lowHalf(this.#count);
  }

  #lowHalf(count: number): number {
    return Math.floor(count / 2);
  }

  /** Ticks counted since the load; negative before it; undefined when there is none. */
  #elapsed(tick: number): number | undefined {
    if (this.#paused !== undefined) return this.#paused;
    return this.#start === undefined ? undefined : tick - this.#start;
  }

  /** True once what was last written is in the counting element (status bit 6, null count, is clear). */
  #isLoaded(tick: number): boolean {
    this.#settle(tick);
    return !this.#untriggered && this.#start !== undefined && this.#reload === undefined && tick >= this.#start;
  }

  /** The counting element as the guest reads it, in binary or BCD. */
  #registerAt(tick: number): number {
    this.#settle(tick);
    const elapsed = Math.max(this.#elapsed(tick) ?? 0, 0);
    const modulus = this.#bcd ? 10_000 : 0x1_0000;
    const count = (this.#count - this.#counted(elapsed)) % modulus;
    const value = count < 0 ? count + modulus : count;
    return this.#bcd ? toBcd(value) : value;
  }

  /** How far the element has counted down from #count. */
  #counted(elapsed: number): number {
    if (this.#mode === 2) return elapsed % this.#count;
    if (this.#mode !== 3) return elapsed;
    const phase = elapsed % this.#count;
    const inHalf = phase < this.#firstHalf() ? phase : phase - this.#firstHalf();
    // By twos, from the even number at or below the count.
    return 2 * inHalf + (this.#count & 1);
  }

  /** Ticks meant by a count register: zero is the largest count; 1 is illegal in modes 2 and 3 and taken as 2. */
  #ticksOf(register: number): number {
    const value = this.#bcd ? fromBcd(register) : register;
    if (value === 0) return this.#bcd ? 10_000 : 0x1_0000;
    return value === 1 && (this.#mode === 2 || this.#mode === 3) ? 2 : value;
  }
}

function fromBcd(value: number): number {
  return (value >> 12) * 1000 + ((value >> 8) & 15) * 100 + ((value >> 4) & 15) * 10 + (value & 15);
}

function toBcd(value: number): number {
  const digit = (unit: number) => Math.floor(value / unit) % 10;
  return (digit(1000) << 12) | (digit(100) << 8) | (digit(10) << 4) | digit(1);
}
