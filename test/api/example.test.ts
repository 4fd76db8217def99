/**
 * The example of the documentation: a test of one's own that boots a guest and waits for text on its serial console.
 */
import { expect, test } from "vitest";
import { Vm } from "vmdeck";
import { TEST_HOME } from "../e2e/test-home.js";

test("a guest boots, answers, and powers off", async () => {
  // `home` is where this project's tests keep their image; leave it out to use your own.
  await using vm = await Vm.run({ image: "mini", memory: "256MiB", home: TEST_HOME });
  await vm.serial.waitFor("mini:~# ", { timeoutMs: 240_000 });

  await vm.serial.write("echo MemTotal is $(awk '/MemTotal/ { print $2 }' /proc/meminfo) kB\n");
  const [, kilobytes] = await vm.serial.waitFor(/MemTotal is (\d+) kB/);
  expect(Number(kilobytes)).toBeGreaterThan(200_000);
  expect(Number(kilobytes)).toBeLessThan(262_144);

  await vm.serial.write("poweroff\n");
  const exit = await vm.wait();
  expect(exit.kind).toBe("powerOff");
  expect(exit.stats.instructions).toBeGreaterThan(0);
});
