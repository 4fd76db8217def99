/**
 * The entropy device (virtio 1.3, 5.4): fills the driver's buffers with random bytes from the one door.
 * Left out: a source that runs dry, which ours never does.
 */
import type { AccessSize } from "../../bus/access.js";
import type { DeviceContext, StateValue } from "../device.js";
import { VIRTIO_ID, type VirtioModel, type VirtioTransport } from "./model.js";

const REQUEST_QUEUE = 0;
/** One request is answered with at most this much; the driver learns how much it got and asks again (5.4.6). */
const MAX_FILL_BYTES = 64 * 1024;

export class VirtioRng implements VirtioModel {
  readonly deviceId = VIRTIO_ID.entropy;
  readonly classCode = 0xff_00_00;
  readonly features = 0;
  readonly queueSizes = [8] as const;
  readonly name: string;
  readonly #context: DeviceContext;
  #transport: VirtioTransport | undefined;

  constructor(context: DeviceContext, name = "virtio-rng") {
    this.#context = context;
    this.name = name;
  }

  connect(transport: VirtioTransport): void {
    this.#transport = transport;
  }

  /** There is no configuration. */
  readConfig(_offset: number, _size: AccessSize): number {
    return 0;
  }

  writeConfig(_offset: number, _size: AccessSize, _value: number): void {}

  processQueue(): void {
    const transport = this.#transport;
    if (transport === undefined) return;
    const queue = transport.queue(REQUEST_QUEUE);
    for (let chain = queue.pop(); chain !== undefined; chain = queue.pop()) {
      const bytes = new Uint8Array(Math.min(chain.writableBytes, MAX_FILL_BYTES));
      this.#context.inputs.random(bytes);
      if (!chain.write(0, bytes)) {
        transport.fail("an entropy buffer is not in RAM");
        return;
      }
      queue.push(chain, bytes.length);
    }
    queue.publish();
  }

  reset(): void {}

  save(): { readonly [key: string]: StateValue } {
    return {};
  }

  load(): void {}
}
