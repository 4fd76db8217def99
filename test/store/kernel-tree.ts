/** Kernel modules made for tests: ELF64 files with nothing but a ".modinfo" section. */

export interface ModuleShape {
  readonly name: string;
  readonly depends?: readonly string[];
  readonly aliases?: readonly string[];
}

export function moduleFile(shape: ModuleShape): Uint8Array {
  const encode = (text: string): Uint8Array => new TextEncoder().encode(text);
  const aliases = (shape.aliases ?? []).map((alias) => `alias=${alias}\0`).join("");
  const modinfo = encode(`license=GPL\0${aliases}depends=${(shape.depends ?? []).join(",")}\0name=${shape.name}\0`);
  const names = encode("\0.shstrtab\0.modinfo\0");
  const namesAt = 64;
  const modinfoAt = namesAt + names.length;
  const tableAt = Math.ceil((modinfoAt + modinfo.length) / 8) * 8;
  const file = new Uint8Array(tableAt + 3 * 64);
  const view = new DataView(file.buffer);
  file.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  view.setBigUint64(0x28, BigInt(tableAt), true);
  view.setUint16(0x3a, 64, true);
  view.setUint16(0x3c, 3, true);
  view.setUint16(0x3e, 1, true);
  file.set(names, namesAt);
  file.set(modinfo, modinfoAt);
  const section = (index: number, nameAt: number, offset: number, length: number): void => {
    const at = tableAt + index * 64;
    view.setUint32(at, nameAt, true);
    view.setBigUint64(at + 0x18, BigInt(offset), true);
    view.setBigUint64(at + 0x20, BigInt(length), true);
  };
  section(1, 1, namesAt, names.length);
  section(2, 11, modinfoAt, modinfo.length);
  return file;
}
