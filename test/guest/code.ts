/**
 * Machine code of small guests, as bytes: what 32-bit and 64-bit mode encode alike (SDM 2, instruction reference). Every
 * piece is position-independent, so that pieces are put together by concatenation.
 */

const COM1 = 0x3f8;
const COM1_LINE_STATUS = COM1 + 5;
const TRANSMITTER_EMPTY = 0x20;
const DATA_READY = 0x01;
/** PM1a control: sleep type 5, sleep enable. */
const PM1A_CONTROL = 0x604;
const ENTER_S5 = (5 << 10) | (1 << 13);
const RESET_CONTROL = 0xcf9;
const RESET_NOW = 6;

/** A 16-bit immediate. */
export function word(value: number): number[] {
  return [value & 0xff, (value >> 8) & 0xff];
}

/** A 32-bit immediate, address or displacement. */
export function dword(value: number): number[] {
  return [...word(value), ...word(value >>> 16)];
}

/** mov dx, port */
export function selectPort(port: number): number[] {
  return [0x66, 0xba, ...word(port)];
}

/** mov dx, port; mov al, value; out dx, al */
export function outByte(port: number, value: number): number[] {
  return [...selectPort(port), 0xb0, value & 0xff, 0xee];
}

/** Prints ASCII on COM1, waiting for room before each character. */
export function print(text: string): number[] {
  return [...text].flatMap((character) => [
    ...selectPort(COM1_LINE_STATUS),
    ...[0xec], //                             in al, dx
    ...[0xa8, TRANSMITTER_EMPTY], //          test al, 20h
    ...[0x74, 0xfb], //                       jz back to in
    ...outByte(COM1, character.charCodeAt(0)),
  ]);
}

/** Sends back what arrives on COM1, up to and without a "q". */
export const ECHO: readonly number[] = [
  ...selectPort(COM1_LINE_STATUS),
  ...[0xec], //                               in al, dx
  ...[0xa8, DATA_READY], //                   test al, 1
  ...[0x74, 0xfb], //                         jz back to in
  ...selectPort(COM1),
  ...[0xec], //                               in al, dx
  ...[0x3c, 0x71], //                         cmp al, 'q'
  ...[0x74, 0x03], //                         je behind the jmp
  ...[0xee], //                               out dx, al
  ...[0xeb, 0xeb], //                         jmp to the start
];

/** Powers the machine off by ACPI: mov dx, PM1a; mov eax, S5; out dx, ax */
export const POWER_OFF: readonly number[] = [...selectPort(PM1A_CONTROL), 0xb8, ...dword(ENTER_S5), 0x66, 0xef];

/** Resets the machine as chipsets do it. */
export const RESET: readonly number[] = outByte(RESET_CONTROL, RESET_NOW);

/** cli; hlt, and again should something wake it */
export const HALT: readonly number[] = [0xfa, 0xf4, 0xeb, 0xfd];

/** jmp to itself */
export const HANG: readonly number[] = [0xeb, 0xfe];

/** ud2: without an IDT, a triple fault */
export const TRIPLE_FAULT: readonly number[] = [0x0f, 0x0b];

/** Ends the VM through isa-debug-exit with status (value << 1) | 1. */
export function debugExit(value: number): number[] {
  return outByte(0xf4, value);
}
