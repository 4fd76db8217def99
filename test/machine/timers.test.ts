import { expect, test } from "vitest";
import { TimerQueue } from "../../src/machine/timers.js";

const rethrow = (name: string, error: unknown) => {
  throw new Error(`${name} threw`, { cause: error });
};

test("timers fire in order of deadline, then name", () => {
  const queue = new TimerQueue();
  const fired: string[] = [];
  const add = (name: string) => queue.add(name, () => fired.push(name));
  add("b").arm(50);
  add("a").arm(50);
  add("c").arm(10);
  add("later").arm(51);
  expect(queue.earliestNs).toBe(10);
  queue.expire(50, rethrow);
  expect(fired).toEqual(["c", "a", "b"]);
  expect(queue.earliestNs).toBe(51);
});

test("a timer is one-shot, and re-arming replaces its deadline", () => {
  const queue = new TimerQueue();
  let count = 0;
  const timer = queue.add("t", () => {
    count += 1;
  });
  timer.arm(5);
  timer.arm(20);
  queue.expire(10, rethrow);
  expect(count).toBe(0);
  queue.expire(20, rethrow);
  queue.expire(1000, rethrow);
  expect(count).toBe(1);
  expect(timer.deadlineNs).toBeUndefined();
});

test("a cancelled timer does not fire, even when another one cancels it on the way", () => {
  const queue = new TimerQueue();
  const victim = queue.add("victim", () => rethrow("victim", "fired"));
  queue.add("killer", () => victim.cancel()).arm(1);
  victim.arm(2);
  queue.expire(3, rethrow);
  expect(queue.earliestNs).toBe(Number.POSITIVE_INFINITY);
});

test("a timer that re-arms itself into the past waits for the next expiry", () => {
  const queue = new TimerQueue();
  let count = 0;
  const timer = queue.add("storm", () => {
    count += 1;
    timer.arm(0);
  });
  timer.arm(1);
  queue.expire(10, rethrow);
  expect(count).toBe(1);
  expect(queue.earliestNs).toBe(0);
  queue.expire(10, rethrow);
  expect(count).toBe(2);
});

test("a handler that throws is reported and stops nobody else", () => {
  const queue = new TimerQueue();
  const fired: string[] = [];
  queue
    .add("bad", () => {
      throw new Error("bug");
    })
    .arm(1);
  queue.add("good", () => fired.push("good")).arm(2);
  const faults: string[] = [];
  queue.expire(5, (name) => faults.push(name));
  expect(faults).toEqual(["bad"]);
  expect(fired).toEqual(["good"]);
});

test("two timers of one name are a bug", () => {
  const queue = new TimerQueue();
  queue.add("x", () => {});
  expect(() => queue.add("x", () => {})).toThrow("two timers are called x");
});
