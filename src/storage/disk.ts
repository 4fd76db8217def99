/**
 * The seam between block front ends and back ends. Errors are rejected promises of VmError; front ends turn them
 * into their own protocol's status. Offsets and lengths are in bytes and multiples of 512.
 */
export interface Disk {
  readonly sizeBytes: number;
  readonly readOnly: boolean;
  /** Identity shown to the guest (virtio-blk GET_ID), at most 20 bytes of ASCII. */
  readonly id: string;
  /** Fills `target` from `offset`. */
  read(offset: number, target: Uint8Array): Promise<void>;
  /** Writes `source` at `offset`; on disk only after `flush`. */
  write(offset: number, source: Uint8Array): Promise<void>;
  /** Resolves when every acknowledged write is durable (fdatasync). */
  flush(): Promise<void>;
  /** The range may read as anything afterwards; a hint. */
  discard(offset: number, length: number): Promise<void>;
  /** The range reads as zeroes afterwards. */
  writeZeroes(offset: number, length: number): Promise<void>;
  close(): Promise<void>;
}
