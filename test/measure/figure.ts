/**
 * A measured figure, and figures as a table for people.
 */

/** One figure of the report. */
export interface Figure {
  readonly name: string;
  readonly value: number;
  readonly unit: string;
  /** What the project aims at, if it does. */
  readonly goal?: string;
}

/** Figures in aligned columns. */
export function table(figures: readonly Figure[]): string {
  const rows = figures.map(({ name, value, unit, goal }) => [name, value.toFixed(digits(value)), unit, goal ?? ""]);
  const widths = [0, 1, 2].map((column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  const line = ([name = "", value = "", unit = "", goal = ""]: string[]) =>
    `${name.padEnd(widths[0] ?? 0)}  ${value.padStart(widths[1] ?? 0)} ${unit.padEnd(widths[2] ?? 0)}  ${goal}`.trimEnd();
  return rows.map(line).join("\n");
}

/** Three significant digits are all that such figures have. */
function digits(value: number): number {
  return Math.max(0, 2 - Math.floor(Math.log10(Math.max(Math.abs(value), 0.01))));
}
