/**
 * From anything to a checked `VmConfig`: runs the schema and turns what it finds into one error a user can act on.
 */
import type { ZodError } from "zod";
import { VmError } from "../errors.js";
import { type VmConfig, vmConfigSchema } from "./schema.js";

/**
 * Checks a configuration and fills in its defaults.
 * @throws VmError VM_CONFIG_INVALID naming every field that is wrong.
 */
export function parseConfig(input: unknown): VmConfig {
  const result = vmConfigSchema.safeParse(input);
  if (result.success) return result.data;
  throw new VmError("VM_CONFIG_INVALID", `the configuration is invalid: ${describe(result.error)}`, {
    cause: result.error,
    hint: "correct the named fields; `vmdeck run --help` lists what they take",
  });
}

function describe(error: ZodError): string {
  return error.issues
    .map((issue) => (issue.path.length === 0 ? issue.message : `${issue.path.join(".")}: ${issue.message}`))
    .join("; ");
}
