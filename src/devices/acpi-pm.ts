/**
 * The fixed hardware of ACPI (ACPI 6.5, 4.8.3 and 4.8.4): PM1a event and control registers, the power management timer,
 * a block of 32 general-purpose events, and the system control interrupt they share.
 *
 * The machine is always in ACPI mode (SMI_CMD is zero in the FADT, SCI_EN reads as one). Sleep type 5 is soft off, the
 * one sleeping state there is. Left out: wake events, the sleep button, bus master status.
 */
import { BytePorts } from "../bus/byte-ports.js";
import type { PortBus } from "../bus/ports.js";
import type { Device, DeviceContext, DeviceState, GuestTimer, IrqPin } from "./device.js";
import { encodeBytes, SavedState } from "./saved-state.js";
import { TickRate } from "./tick-rate.js";

/** I/O block, as the FADT describes it. */
export const ACPI_PM_PORT = 0x600;
export const ACPI_PM_TIMER_PORT = 0x608;
export const ACPI_GPE0_PORT = 0x620;
/** System control interrupt: level, active high. */
export const SCI_IRQ = 9;
/** SLP_TYP of S5, as the DSDT's \_S5 package says. */
export const S5_SLEEP_TYPE = 5;
export const PM_TIMER_HZ = 3_579_545;

const PM1_BYTES = 12;
/** Status half and enable half. */
const GPE0_BYTES = 8;
/** Byte offsets in the PM1 block. */
const REG = { status: 0, enable: 2, control: 4, timer: 8 } as const;
const PM1 = { timer: 1 << 0, global: 1 << 5, powerButton: 1 << 8, realTimeClock: 1 << 10 } as const;
/** The clock's alarm never sets its status (FIX_RTC in the FADT), but systems check that its enable bit holds. */
const PM1_WRITABLE = PM1.timer | PM1.global | PM1.powerButton | PM1.realTimeClock;
const CONTROL = { sciEnable: 1 << 0, busMasterReload: 1 << 1, sleepType: 7 << 10, sleepEnable: 1 << 13 } as const;
const SLEEP_TYPE_SHIFT = 10;
const STATE_VERSION = 1;

export interface AcpiPmOptions {
  /** Width of the timer in bits: 24, or 32 where the FADT sets TMR_VAL_EXT. */
  readonly timerBits: 24 | 32;
}

export class AcpiPm extends BytePorts implements Device {
  readonly name = "acpi-pm";
  readonly #context: DeviceContext;
  readonly #sci: IrqPin;
  readonly #carry: GuestTimer;
  readonly #rate = new TickRate(PM_TIMER_HZ);
  readonly #modulus: number;
  #status = 0;
  #enable = 0;
  #control = CONTROL.sciEnable;
  /** Half periods of the timer completed when its status bit was last brought up to date. */
  #halfPeriods = 0;
  /** GPE0: four bytes of status, four of enables. */
  readonly #gpe = new Uint8Array(GPE0_BYTES);

  constructor(context: DeviceContext, options: AcpiPmOptions) {
    super();
    this.#context = context;
    this.#modulus = 2 ** options.timerBits;
    this.#sci = context.irq(SCI_IRQ);
    this.#carry = context.clock.timer("acpi-pm.carry", () => this.#update());
    this.reset();
  }

  /** Claims the blocks' ports on `bus`. */
  attach(bus: PortBus): void {
    bus.claim(ACPI_PM_PORT, PM1_BYTES, this);
    bus.claim(ACPI_GPE0_PORT, GPE0_BYTES, this);
  }

  reset(): void {
    this.#status = 0;
    this.#enable = 0;
    this.#control = CONTROL.sciEnable;
    this.#halfPeriods = this.#completedHalfPeriods();
    this.#gpe.fill(0);
    this.#update();
  }

  /** Presses and releases the power button: the guest is asked to shut down (4.8.3.2.1). */
  pressPowerButton(): void {
    this.#status |= PM1.powerButton;
    this.#update();
  }

  /** Raises general-purpose event `event` (0..31). */
  raiseEvent(event: number): void {
    this.#gpe[event >> 3] = (this.#gpe[event >> 3] ?? 0) | (1 << (event & 7));
    this.#update();
  }

  save(): DeviceState {
    this.#catchUp();
    return {
      version: STATE_VERSION,
      status: this.#status,
      enable: this.#enable,
      control: this.#control,
      halfPeriods: this.#halfPeriods,
      gpe: encodeBytes(this.#gpe),
    };
  }

  load(state: DeviceState): void {
    const saved = new SavedState(this.name, state, STATE_VERSION);
    this.#status = saved.integer("status", 0, 0xffff);
    this.#enable = saved.integer("enable", 0, 0xffff);
    this.#control = saved.integer("control", 0, 0xffff);
    this.#halfPeriods = saved.number("halfPeriods");
    this.#gpe.set(saved.bytes("gpe", GPE0_BYTES));
    this.#update();
  }

  protected readByte(port: number): number {
    if (port >= ACPI_GPE0_PORT) return this.#gpe[port - ACPI_GPE0_PORT] ?? 0;
    const offset = port - ACPI_PM_PORT;
    const shift = 8 * (offset & 1);
    switch (offset & ~1) {
      case REG.status:
        this.#update();
        return (this.#status >> shift) & 0xff;
      case REG.enable:
        return (this.#enable >> shift) & 0xff;
      case REG.control:
        return (this.#control >> shift) & 0xff;
      case REG.timer:
      case REG.timer + 2:
        return (this.#timerValue() >>> (8 * (offset - REG.timer))) & 0xff;
      default:
        return 0;
    }
  }

  protected writeByte(port: number, value: number): void {
    if (port >= ACPI_GPE0_PORT) {
      this.#writeEvents(port - ACPI_GPE0_PORT, value);
      return;
    }
    const offset = port - ACPI_PM_PORT;
    const shift = 8 * (offset & 1);
    const kept = 0xff00 >> shift;
    switch (offset & ~1) {
      case REG.status:
        // Written ones clear (4.8.3.1.1); what has come due by now is cleared with them.
        this.#update();
        this.#status &= ~(value << shift);
        break;
      case REG.enable:
        this.#enable = ((this.#enable & kept) | (value << shift)) & PM1_WRITABLE;
        break;
      case REG.control:
        this.#writeControl((this.#control & kept) | (value << shift));
        break;
      default:
        break;
    }
    this.#update();
  }

  #writeEvents(index: number, value: number): void {
    const isStatus = index < GPE0_BYTES / 2;
    this.#gpe[index] = isStatus ? (this.#gpe[index] ?? 0) & ~value : value;
    this.#update();
  }

  #writeControl(value: number): void {
    // SLP_EN is write-only and SCI_EN is ours (4.8.3.2.1).
    this.#control = (value & (CONTROL.busMasterReload | CONTROL.sleepType)) | CONTROL.sciEnable;
    if ((value & CONTROL.sleepEnable) === 0) return;
    const sleepType = (value & CONTROL.sleepType) >> SLEEP_TYPE_SHIFT;
    if (sleepType === S5_SLEEP_TYPE) this.#context.power.powerOff();
    else this.#context.warn(this.name, `guest asked for sleep type ${sleepType}, which this machine does not have`);
  }

  #timerValue(): number {
    return this.#rate.ticksAt(this.#context.clock.nowNs()) % this.#modulus;
  }

  /** TMR_STS is set whenever the timer's highest bit changes (4.8.3.3). */
  #completedHalfPeriods(): number {
    return Math.floor(this.#rate.ticksAt(this.#context.clock.nowNs()) / (this.#modulus / 2));
  }

  /** Brings the timer's status bit up to date. */
  #catchUp(): void {
    const halfPeriods = this.#completedHalfPeriods();
    if (halfPeriods === this.#halfPeriods) return;
    this.#halfPeriods = halfPeriods;
    this.#status |= PM1.timer;
  }

  /** Catches up, sets the SCI and waits for the next carry. */
  #update(): void {
    this.#catchUp();
    let active = (this.#status & this.#enable) !== 0;
    for (let i = 0; i < GPE0_BYTES / 2; i++) {
      active ||= ((this.#gpe[i] ?? 0) & (this.#gpe[i + GPE0_BYTES / 2] ?? 0)) !== 0;
    }
    this.#sci.set(active);
    const awaitsCarry = (this.#enable & PM1.timer) !== 0 && (this.#status & PM1.timer) === 0;
    if (awaitsCarry) this.#carry.arm(this.#rate.nsAt((this.#halfPeriods + 1) * (this.#modulus / 2)));
    else this.#carry.cancel();
  }
}
