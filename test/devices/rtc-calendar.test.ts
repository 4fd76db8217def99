import { describe, expect, it } from "vitest";
import { civilFromSeconds, secondsFromCivil, weekdayFromSeconds } from "../../src/devices/rtc-calendar.js";
import { TestRandom } from "./port-traffic.js";

describe("calendar", () => {
  it("agrees with the platform's calendar from 1601 to 2500", () => {
    const random = new TestRandom(11);
    const first = Date.UTC(1601, 0, 1) / 1000;
    const span = Date.UTC(2500, 0, 1) / 1000 - first;
    for (let i = 0; i < 20_000; i++) {
      const seconds = first + ((random.below(2 ** 31) * 2 ** 5 + random.below(2 ** 5)) % span);
      const date = new Date(seconds * 1000);
      const time = civilFromSeconds(seconds);
      const agrees =
        time.year === date.getUTCFullYear() &&
        time.month === date.getUTCMonth() + 1 &&
        time.day === date.getUTCDate() &&
        time.hour === date.getUTCHours() &&
        time.minute === date.getUTCMinutes() &&
        time.second === date.getUTCSeconds() &&
        weekdayFromSeconds(seconds) === date.getUTCDay() + 1;
      if (!agrees || secondsFromCivil(time) !== seconds) expect.fail(`${date.toISOString()}: ${JSON.stringify(time)}`);
    }
  });

  it("carries fields that are out of range", () => {
    const odd = secondsFromCivil({ year: 2023, month: 14, day: 30, hour: 25, minute: 61, second: 61 });
    expect(civilFromSeconds(odd)).toEqual({ year: 2024, month: 3, day: 2, hour: 2, minute: 2, second: 1 });
  });
});
