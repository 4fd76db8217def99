/**
 * `vmdeck image`: builds, lists and removes images in the data directory.
 */
import type { Command } from "commander";
import { formatSize } from "../../config/units.js";
import { VmError } from "../../errors.js";
import { resolveHome } from "../../store/home.js";
import { type Image, listImages, removeImage } from "../../store/images.js";
import { buildMini, MINI } from "../../store/mini-image.js";
import type { CommandContext } from "../command-context.js";
import { EXIT_STATUS } from "../exit-codes.js";
import { Interruption } from "../interruption.js";
import type { Output } from "../output.js";

export interface ImageOptions {
  readonly home?: string;
  readonly json?: boolean;
}

const HOME_OPTION = ["--home <DIR>", "data directory (default: VMDECK_HOME, or the user's own)"] as const;
const KIB = 1024;

export function registerImage(program: Command, { output, finish }: CommandContext): void {
  const image = program
    .command("image")
    .summary("build, list and remove images")
    .description(
      "Images in the data directory: a kernel, an initial RAM disk, and a manifest that says where they are from.",
    )
    .addHelpText("after", "\nExamples:\n  $ vmdeck image build mini\n  $ vmdeck image ls\n  $ vmdeck image rm mini");
  image
    .command("build")
    .description(
      "Builds an image, or builds it anew. `mini` is made of Debian packages, fetched and checked by the host's apt.",
    )
    .argument("<NAME>", `image to build: ${MINI}`)
    .option(...HOME_OPTION)
    .option("--json", "print the manifest as JSON")
    .addHelpText(
      "after",
      "\nExamples:\n  $ vmdeck image build mini\n  $ vmdeck image build mini --home /srv/vmdeck --json",
    )
    .action(async (name: string, options: ImageOptions) => finish(await build(name, options, output)));
  image
    .command("ls")
    .alias("list")
    .description("Lists the images.")
    .option(...HOME_OPTION)
    .option("--json", "print the manifests as JSON")
    .addHelpText("after", "\nExamples:\n  $ vmdeck image ls\n  $ vmdeck image ls --json")
    .action((options: ImageOptions) => list(options, output));
  image
    .command("rm")
    .alias("remove")
    .description("Removes images.")
    .argument("<NAMES...>", "images to remove")
    .option(...HOME_OPTION)
    .option("--json", "print the removed names as JSON")
    .addHelpText("after", "\nExamples:\n  $ vmdeck image rm mini")
    .action((names: readonly string[], options: ImageOptions) => remove(names, options, output));
}

async function build(name: string, options: ImageOptions, output: Output): Promise<number> {
  if (name !== MINI) {
    throw new VmError("VM_USAGE", `there is no recipe for the image ${name}`, { hint: `build ${MINI}` });
  }
  using interruption = new Interruption();
  try {
    const onProgress = (line: string) => output.note(`vmdeck: ${line}`);
    const built = await buildMini(options.home ?? resolveHome(), { onProgress, signal: interruption.signal });
    if (options.json === true) output.json(built.manifest);
    else output.line(`built ${built.manifest.name} in ${built.directory}`);
    return EXIT_STATUS.ok;
  } catch (error) {
    if (interruption.status !== undefined) return interruption.status;
    throw error;
  }
}

async function list(options: ImageOptions, output: Output): Promise<void> {
  const images = await listImages(options.home ?? resolveHome());
  if (options.json === true) output.json(images.map((image) => image.manifest));
  else output.table([["NAME", "BUILT", "KERNEL", "SIZE"], ...images.map(row)]);
}

function row({ manifest }: Image): string[] {
  const bytes = manifest.kernel.bytes + manifest.initrd.bytes;
  const kernel = manifest.packages.find(({ name }) => name.startsWith("linux-image"));
  const size = formatSize(Math.ceil(bytes / KIB) * KIB);
  return [manifest.name, manifest.builtAt, kernel?.version ?? "-", size];
}

async function remove(names: readonly string[], options: ImageOptions, output: Output): Promise<void> {
  for (const name of names) {
    await removeImage(options.home ?? resolveHome(), name);
    if (options.json !== true) output.line(`removed ${name}`);
  }
  if (options.json === true) output.json({ removed: names });
}
