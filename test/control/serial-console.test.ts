import { expect, test } from "vitest";
import { SerialConsole } from "../../src/control/serial-console.js";

function setUp() {
  const sent: Uint8Array[] = [];
  const holds: boolean[] = [];
  const console = new SerialConsole({
    send: async (bytes) => {
      sent.push(bytes);
    },
    hold: (stopped) => holds.push(stopped),
  });
  const say = (text: string) => console.receive(Buffer.from(text));
  return { console, sent, holds, say };
}

test("a wait looks behind the match of the one before", async () => {
  const { console, say } = setUp();
  say("login: root\nlogin: ");
  expect((await console.waitFor("login: ")).index).toBe(0);
  expect((await console.waitFor(/(\w+)\nlogin/))[1]).toBe("root");
  const third = console.waitFor("# ");
  say("\n");
  say("#");
  say(" ");
  await third;
});

test("waits are served in order, and a plain text is no pattern", async () => {
  const { console, say } = setUp();
  const order: string[] = [];
  const first = console.waitFor("a.c").then(() => order.push("first"));
  const second = console.waitFor("b").then(() => order.push("second"));
  say("abc b ");
  say("a.c b");
  await Promise.all([first, second]);
  expect(order).toEqual(["first", "second"]);
});

test("a wait that gives up lets those behind it go on", async () => {
  const { console, say } = setUp();
  const first = expect(console.waitFor("never", { timeoutMs: 1 })).rejects.toMatchObject({ code: "VM_TIMEOUT" });
  const second = console.waitFor("here");
  say("here");
  await first;
  await second;
});

test("a character split between chunks is one character", async () => {
  const { console } = setUp();
  const bytes = Buffer.from("grün ✓");
  for (const byte of bytes) console.receive(Uint8Array.of(byte));
  expect(console.output).toBe("grün ✓");
  await console.waitFor(/✓/);
});

test("the first reader starts with the first byte, a later one with what comes", async () => {
  const { console, say } = setUp();
  say("early ");
  const first = console[Symbol.asyncIterator]();
  const second = console[Symbol.asyncIterator]();
  say("late");
  console.end();
  const read = async (reader: AsyncIterable<Uint8Array>) => {
    let text = "";
    for await (const chunk of reader) text += Buffer.from(chunk).toString();
    return text;
  };
  expect(await read(first)).toBe("early late");
  expect(await read(second)).toBe("late");
});

test("a reader that falls behind holds the guest back until it has caught up or left", async () => {
  const { console, say, holds } = setUp();
  const reader = console[Symbol.asyncIterator]();
  for (let i = 0; i < 300; i++) say("x");
  expect(holds.at(-1)).toBe(true);
  for (let i = 0; i < 300; i++) await reader.next();
  expect(holds.at(-1)).toBe(false);
  for (let i = 0; i < 300; i++) say("x");
  expect(holds.at(-1)).toBe(true);
  await reader.return?.();
  expect(holds.at(-1)).toBe(false);
});

test("text is typed as UTF-8", async () => {
  const { console, sent } = setUp();
  await console.write("é\n");
  expect(Buffer.concat(sent)).toEqual(Buffer.from([0xc3, 0xa9, 0x0a]));
});
