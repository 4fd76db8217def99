/**
 * MC146818A real-time clock and CMOS RAM (Motorola MC146818A datasheet, ADI1042; century and memory sizes as PC
 * firmware keeps them): binary or BCD, 12 or 24 hours, alarm, periodic and update-ended interrupts, UIP.
 *
 * The clock is brought up to date when looked at; a timer runs only for an enabled interrupt not yet flagged. The
 * registers change at the end of the update cycle. Left out: daylight saving, square wave, day-of-month alarm.
 */
import { BytePorts } from "../bus/byte-ports.js";
import type { PortBus } from "../bus/ports.js";
import type { Device, DeviceContext, DeviceState, GuestTimer, IrqPin } from "./device.js";
import {
  type CivilTime,
  civilFromSeconds,
  SECONDS_PER_DAY,
  secondsFromCivil,
  weekdayFromSeconds,
} from "./rtc-calendar.js";
import { encodeBytes, SavedState } from "./saved-state.js";
import { TickRate } from "./tick-rate.js";

const INDEX_PORT = 0x70;
const RTC_IRQ = 8;
const CMOS_BYTES = 128;
const NS_PER_SECOND = 1e9;

const REG = {
  second: 0x00,
  secondAlarm: 0x01,
  minute: 0x02,
  minuteAlarm: 0x03,
  hour: 0x04,
  hourAlarm: 0x05,
  weekday: 0x06,
  day: 0x07,
  month: 0x08,
  year: 0x09,
  a: 0x0a,
  b: 0x0b,
  c: 0x0c,
  d: 0x0d,
  century: 0x32,
} as const;
const A = { updateInProgress: 0x80, divider: 0x70, dividerRunning: 0x20, dividerReset: 0x60, rate: 0x0f } as const;
const B = { set: 0x80, binary: 0x04, hours24: 0x02 } as const;
/** Periodic, alarm and update-ended: enables in register B, flags in register C, at the same places. */
const EVENT = { periodic: 0x40, alarm: 0x20, update: 0x10, all: 0x70 } as const;
const C_INTERRUPT = 0x80;
const D_VALID = 0x80;
const HOUR_PM = 0x80;
/** Alarm bytes 0xC0..0xFF match anything. */
const ALARM_ANY = 0xc0;
/** UIP rises 244 us before an update cycle, which takes 1984 us with the 32.768 kHz time base. */
const UPDATE_NS = 244_000 + 1_984_000;
/** The first update after the divider is released comes half a second later. */
const FIRST_UPDATE_NS = NS_PER_SECOND / 2;
const TIME_BASE = new TickRate(32_768);
const STATE_VERSION = 1;

const KIB = 1024;
const MIB = 1024 * KIB;

export interface RtcOptions {
  /** RAM from address 0 up, in bytes, as far as it reaches below 4 GiB. */
  readonly lowMemoryBytes: number;
  /** RAM from 4 GiB up, in bytes. */
  readonly highMemoryBytes: number;
}

export class Rtc extends BytePorts implements Device {
  readonly name = "rtc";
  readonly #clock: DeviceContext["clock"];
  readonly #irq: IrqPin;
  readonly #timer: GuestTimer;
  readonly #cmos = new Uint8Array(CMOS_BYTES);
  #index = 0;
  /** A guest time at which an update takes (or took) place: updates are whole seconds from here. */
  #phaseNs: number;
  /** Updates since #phaseNs that have been taken note of. */
  #updates = 0;
  /** Periodic events since #phaseNs, likewise. */
  #periods = 0;

  constructor(context: DeviceContext, options: RtcOptions) {
    super();
    this.#clock = context.clock;
    this.#irq = context.irq(RTC_IRQ);
    this.#timer = context.clock.timer("rtc.event", () => this.#update());
    const wallClockMs = context.inputs.wallClockAtPowerOnMs();
    const second = Math.floor(wallClockMs / 1000);
    this.#phaseNs = -Math.round((wallClockMs - second * 1000) * 1e6);
    this.#cmos[REG.a] = A.dividerRunning | 6;
    this.#cmos[REG.b] = B.hours24;
    this.#cmos[REG.d] = D_VALID;
    this.#setTime(civilFromSeconds(second));
    this.#cmos[REG.weekday] = weekdayFromSeconds(second);
    storeMemorySizes(this.#cmos, options);
  }

  /** Claims the index and data ports on `bus`. */
  attach(bus: PortBus): void {
    bus.claim(INDEX_PORT, 2, this);
  }

  /** The battery keeps time and RAM; RESET# disables the interrupts and clears their flags. */
  reset(): void {
    this.#index = 0;
    this.#update();
    this.#cmos[REG.b] = this.#at(REG.b) & ~EVENT.all;
    this.#cmos[REG.c] = 0;
    this.#update();
  }

  save(): DeviceState {
    this.#catchUp();
    return {
      version: STATE_VERSION,
      index: this.#index,
      phaseNs: this.#phaseNs,
      updates: this.#updates,
      periods: this.#periods,
      cmos: encodeBytes(this.#cmos),
    };
  }

  load(state: DeviceState): void {
    const saved = new SavedState(this.name, state, STATE_VERSION);
    this.#index = saved.integer("index", 0, CMOS_BYTES - 1);
    this.#phaseNs = saved.number("phaseNs");
    this.#updates = saved.number("updates");
    this.#periods = saved.number("periods");
    this.#cmos.set(saved.bytes("cmos", CMOS_BYTES));
    this.#update();
  }

  protected readByte(port: number): number {
    // The index is write-only.
    if (port === INDEX_PORT) return 0xff;
    this.#update();
    switch (this.#index) {
      case REG.a:
        return this.#at(REG.a) | (this.#isUpdating() ? A.updateInProgress : 0);
      case REG.c: {
        const flags = this.#at(REG.c);
        this.#cmos[REG.c] = 0;
        this.#update();
        return flags;
      }
      default:
        return this.#at(this.#index);
    }
  }

  protected writeByte(port: number, value: number): void {
    if (port === INDEX_PORT) {
      // Bit 7 masks NMI, of which there are none.
      this.#index = value & (CMOS_BYTES - 1);
      return;
    }
    this.#update();
    switch (this.#index) {
      case REG.a:
        this.#writeA(value & ~A.updateInProgress);
        break;
      case REG.b:
        this.#cmos[REG.b] = (value & B.set) === 0 ? value : value & ~EVENT.update;
        break;
      case REG.c:
      case REG.d:
        break;
      default:
        this.#cmos[this.#index] = value;
        break;
    }
    this.#update();
  }

  #writeA(value: number): void {
    const before = this.#at(REG.a);
    this.#cmos[REG.a] = value;
    if ((before & A.dividerReset) === A.dividerReset && (value & A.dividerReset) !== A.dividerReset) {
      this.#phaseNs = this.#clock.nowNs() + FIRST_UPDATE_NS - NS_PER_SECOND;
      this.#updates = this.#completedUpdates();
    }
    this.#periods = this.#completedPeriods();
  }

  /** Takes note of all that has happened since the last look. */
  #catchUp(): void {
    const updates = this.#completedUpdates();
    const elapsed = updates - this.#updates;
    this.#updates = updates;
    if (elapsed > 0 && this.#isRunning()) this.#passSeconds(elapsed);
    const periods = this.#completedPeriods();
    if (periods !== this.#periods) this.#flag(EVENT.periodic);
    this.#periods = periods;
  }

  /** Catches up, sets the interrupt and waits for the next event. */
  #update(): void {
    this.#catchUp();
    const interrupting = (this.#at(REG.b) & this.#at(REG.c) & EVENT.all) !== 0;
    this.#cmos[REG.c] = (this.#at(REG.c) & EVENT.all) | (interrupting ? C_INTERRUPT : 0);
    this.#irq.set(interrupting);
    const nextNs = this.#nextEventNs();
    if (nextNs === undefined) this.#timer.cancel();
    else this.#timer.arm(nextNs);
  }

  #passSeconds(seconds: number): void {
    const untilAlarm = this.#secondsUntilAlarm();
    if (untilAlarm !== undefined && untilAlarm <= seconds) this.#flag(EVENT.alarm);
    this.#flag(EVENT.update);
    const before = secondsFromCivil(this.#time());
    const after = before + seconds;
    const days = Math.floor(after / SECONDS_PER_DAY) - Math.floor(before / SECONDS_PER_DAY);
    // The weekday is a counter of its own, set by whoever set the date.
    if (days > 0) this.#cmos[REG.weekday] = ((this.#at(REG.weekday) - 1 + days) % 7) + 1;
    this.#setTime(civilFromSeconds(after));
  }

  /** When the next enabled interrupt that is not flagged yet comes due. */
  #nextEventNs(): number | undefined {
    const awaited = this.#at(REG.b) & ~this.#at(REG.c) & EVENT.all;
    let next = Number.POSITIVE_INFINITY;
    if ((awaited & EVENT.periodic) !== 0 && this.#periodTicks() > 0) {
      next = this.#phaseNs + TIME_BASE.nsAt((this.#periods + 1) * this.#periodTicks());
    }
    if ((awaited & (EVENT.update | EVENT.alarm)) !== 0 && this.#isRunning()) {
      const inSeconds = (awaited & EVENT.update) !== 0 ? 1 : this.#secondsUntilAlarm();
      if (inSeconds !== undefined) next = Math.min(next, this.#phaseNs + (this.#updates + inSeconds) * NS_PER_SECOND);
    }
    return next === Number.POSITIVE_INFINITY ? undefined : next;
  }

  /** Seconds from the time in the registers to the next match of the alarm, 1..86400; undefined if it never matches. */
  #secondsUntilAlarm(): number | undefined {
    const alarmHour = this.#alarm(REG.hourAlarm, 24);
    const alarmMinute = this.#alarm(REG.minuteAlarm, 60);
    const alarmSecond = this.#alarm(REG.secondAlarm, 60);
    if (alarmHour === "never" || alarmMinute === "never" || alarmSecond === "never") return undefined;
    const { hour, minute, second } = this.#time();
    const now = (hour * 3600 + minute * 60 + second) % SECONDS_PER_DAY;
    const matches = (alarm: number | "any", value: number) => alarm === "any" || alarm === value;
    // Minute by minute; within one, the only candidate is the alarm's second or the first that is left.
    for (let start = Math.floor(now / 60) * 60; start <= now + SECONDS_PER_DAY; start += 60) {
      const minuteOfDay = (start / 60) % 1440;
      if (!matches(alarmHour, Math.floor(minuteOfDay / 60)) || !matches(alarmMinute, minuteOfDay % 60)) continue;
      const candidate = alarmSecond === "any" ? Math.max(start, now + 1) : start + alarmSecond;
      if (candidate > now && candidate < start + 60) return candidate - now;
    }
    return undefined;
  }

  #alarm(register: number, limit: number): number | "any" | "never" {
    const raw = this.#at(register);
    if ((raw & ALARM_ANY) === ALARM_ANY) return "any";
    const value = register === REG.hourAlarm ? this.#decodeHour(raw) : this.#decode(raw);
    return value < limit ? value : "never";
  }

  #flag(event: number): void {
    this.#cmos[REG.c] = this.#at(REG.c) | event;
  }

  #isRunning(): boolean {
    return (this.#at(REG.b) & B.set) === 0 && (this.#at(REG.a) & A.divider) === A.dividerRunning;
  }

  #isUpdating(): boolean {
    const nextUpdateNs = this.#phaseNs + (this.#updates + 1) * NS_PER_SECOND;
    return this.#isRunning() && nextUpdateNs - this.#clock.nowNs() <= UPDATE_NS;
  }

  #completedUpdates(): number {
    return Math.floor((this.#clock.nowNs() - this.#phaseNs) / NS_PER_SECOND);
  }

  #completedPeriods(): number {
    const ticks = this.#periodTicks();
    return ticks === 0 ? 0 : Math.floor(TIME_BASE.ticksAt(this.#clock.nowNs() - this.#phaseNs) / ticks);
  }

  /** Length of the periodic interrupt's period in ticks of 32.768 kHz; 0 is none (table 5). */
  #periodTicks(): number {
    const rate = this.#at(REG.a) & A.rate;
    const isDividing = (this.#at(REG.a) & A.dividerReset) !== A.dividerReset;
    if (rate === 0 || !isDividing) return 0;
    // Rates 1 and 2 repeat 8 and 9 with this time base.
    return 1 << ((rate <= 2 ? rate + 7 : rate) - 1);
  }

  #at(register: number): number {
    return this.#cmos[register] ?? 0;
  }

  #time(): CivilTime {
    return {
      year: this.#decode(this.#at(REG.century)) * 100 + this.#decode(this.#at(REG.year)),
      month: this.#decode(this.#at(REG.month)),
      day: this.#decode(this.#at(REG.day)),
      hour: this.#decodeHour(this.#at(REG.hour)),
      minute: this.#decode(this.#at(REG.minute)),
      second: this.#decode(this.#at(REG.second)),
    };
  }

  #setTime(time: CivilTime): void {
    this.#cmos[REG.century] = this.#encode(Math.floor(time.year / 100) % 100);
    this.#cmos[REG.year] = this.#encode(time.year % 100);
    this.#cmos[REG.month] = this.#encode(time.month);
    this.#cmos[REG.day] = this.#encode(time.day);
    this.#cmos[REG.hour] = this.#encodeHour(time.hour);
    this.#cmos[REG.minute] = this.#encode(time.minute);
    this.#cmos[REG.second] = this.#encode(time.second);
  }

  #isBinary(): boolean {
    return (this.#at(REG.b) & B.binary) !== 0;
  }

  #decode(raw: number): number {
    return this.#isBinary() ? raw : (raw >> 4) * 10 + (raw & 15);
  }

  #encode(value: number): number {
    return this.#isBinary() ? value : (Math.floor(value / 10) << 4) | (value % 10);
  }

  #decodeHour(raw: number): number {
    if ((this.#at(REG.b) & B.hours24) !== 0) return this.#decode(raw);
    return (this.#decode(raw & ~HOUR_PM) % 12) + ((raw & HOUR_PM) !== 0 ? 12 : 0);
  }

  #encodeHour(hour: number): number {
    if ((this.#at(REG.b) & B.hours24) !== 0) return this.#encode(hour);
    return this.#encode(hour % 12 === 0 ? 12 : hour % 12) | (hour >= 12 ? HOUR_PM : 0);
  }
}

/** Memory sizes where PC firmware keeps them, each at most what its bytes can say, and the checksum over 0x10..0x2d. */
function storeMemorySizes(cmos: Uint8Array, options: RtcOptions): void {
  const { lowMemoryBytes, highMemoryBytes } = options;
  const store = (register: number, value: number, bytes: number): void => {
    const limited = Math.min(Math.max(Math.floor(value), 0), 2 ** (8 * bytes) - 1);
    for (let i = 0; i < bytes; i++) cmos[register + i] = Math.floor(limited / 2 ** (8 * i)) & 0xff;
  };
  const aboveOneMibKib = (lowMemoryBytes - MIB) / KIB;
  store(0x15, Math.min(lowMemoryBytes / KIB, 640), 2);
  store(0x17, aboveOneMibKib, 2);
  store(0x30, aboveOneMibKib, 2);
  store(0x34, (lowMemoryBytes - 16 * MIB) / (64 * KIB), 2);
  store(0x5b, highMemoryBytes / (64 * KIB), 3);
  const sum = cmos.subarray(0x10, 0x2e).reduce((total, byte) => total + byte, 0);
  cmos[0x2e] = (sum >> 8) & 0xff;
  cmos[0x2f] = sum & 0xff;
}
