/**
 * Measures what the project promises in figures, on this host: `npm run measure`, with `-- --json` for machines. Needs
 * a quiet host for a few minutes. The image `mini` comes from VMDECK_HOME, or from the tests' own data directory.
 */
import { measureBoots } from "./boot.js";
import { type Figure, table } from "./figure.js";
import { measureIdle } from "./idle.js";
import { measureKinds, measurePorts } from "./speed.js";

async function main(): Promise<void> {
  const figures: Figure[] = [];
  for (const measure of [measureKinds, measurePorts, measureIdle, measureBoots]) figures.push(...(await measure()));
  if (process.argv.includes("--json")) console.log(JSON.stringify(figures));
  else console.log(table(figures));
}

await main();
