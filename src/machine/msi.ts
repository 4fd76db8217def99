/**
 * Message-signalled interrupts: a device's write to 0xFEExxxxx becomes a message to the Local APICs (SDM 3A, 11.11).
 * The redirection hint is not modelled: the destination mode bit alone decides, as chipsets without remapping do.
 */
import type { MsiSink } from "../devices/device.js";
import type { ApicMessage, Engine } from "../native/engine.js";

/** The message of a write of `data` to `address`; undefined when the address is not the Local APICs'. */
export function msiMessage(address: number, data: number): ApicMessage | undefined {
  if (address < 0xfee0_0000 || address > 0xfeef_ffff) return undefined;
  return {
    destination: (address >>> 12) & 0xff,
    logical: (address & 0x4) !== 0,
    deliveryMode: (data >>> 8) & 0x7,
    vector: data & 0xff,
    levelTriggered: (data & 0x8000) !== 0,
  };
}

export function msiSink(engine: Pick<Engine, "deliver">, warn: (device: string, message: string) => void): MsiSink {
  return {
    send(address, data) {
      const message = msiMessage(address, data);
      if (message === undefined) warn("msi", `a message to ${address.toString(16)} reaches no Local APIC`);
      else engine.deliver(message);
    },
  };
}
