/** Where a character device's output goes (a terminal, a file, a control client). The one interface of serial back ends. */
export interface ByteSink {
  /** Takes ownership of `bytes`; never throws and never blocks. */
  write(bytes: Uint8Array): void;
}
