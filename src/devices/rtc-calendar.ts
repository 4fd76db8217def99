/**
 * Civil time for the real-time clock: days since 1970-01-01 to and from the proleptic Gregorian calendar, in plain
 * arithmetic (devices have no Date). A year is counted from March here, so that the leap day ends it.
 */

/** A moment as the clock's registers tell it; `month` 1..12, `day` 1..31, all 24-hour. */
export interface CivilTime {
  readonly year: number;
  readonly month: number;
  readonly day: number;
  readonly hour: number;
  readonly minute: number;
  readonly second: number;
}

export const SECONDS_PER_DAY = 86_400;
const DAYS_PER_400_YEARS = 146_097;
/** From 0000-03-01 to 1970-01-01. */
const EPOCH_DAYS = 719_468;

/** Seconds since 1970-01-01 00:00. Fields out of range carry over (month 13 is January). */
export function secondsFromCivil(time: CivilTime): number {
  const months = time.year * 12 + (time.month - 1) - 2;
  const year = Math.floor(months / 12);
  const monthFromMarch = months - year * 12;
  // 153 days in the five months from March, and again from August.
  const dayOfYear = Math.floor((153 * monthFromMarch + 2) / 5) + time.day - 1;
  const leapDays = Math.floor(year / 4) - Math.floor(year / 100) + Math.floor(year / 400);
  const days = year * 365 + leapDays + dayOfYear - EPOCH_DAYS;
  return days * SECONDS_PER_DAY + time.hour * 3600 + time.minute * 60 + time.second;
}

/** The inverse: whole seconds since 1970-01-01 00:00 as civil time. */
export function civilFromSeconds(seconds: number): CivilTime {
  const days = Math.floor(seconds / SECONDS_PER_DAY);
  const inDay = seconds - days * SECONDS_PER_DAY;
  const shifted = days + EPOCH_DAYS;
  const era = Math.floor(shifted / DAYS_PER_400_YEARS);
  const dayOfEra = shifted - era * DAYS_PER_400_YEARS;
  const leapCorrected =
    dayOfEra - Math.floor(dayOfEra / 1460) + Math.floor(dayOfEra / 36_524) - Math.floor(dayOfEra / 146_096);
  const yearOfEra = Math.floor(leapCorrected / 365);
  const dayOfYear = dayOfEra - (365 * yearOfEra + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100));
  const monthFromMarch = Math.floor((5 * dayOfYear + 2) / 153);
  const month = monthFromMarch < 10 ? monthFromMarch + 3 : monthFromMarch - 9;
  return {
    year: era * 400 + yearOfEra + (month <= 2 ? 1 : 0),
    month,
    day: dayOfYear - Math.floor((153 * monthFromMarch + 2) / 5) + 1,
    hour: Math.floor(inDay / 3600),
    minute: Math.floor(inDay / 60) % 60,
    second: inDay % 60,
  };
}

/** Day of the week, 1 is Sunday, as the clock's register counts. */
export function weekdayFromSeconds(seconds: number): number {
  // 1970-01-01 was a Thursday.
  return ((((Math.floor(seconds / SECONDS_PER_DAY) + 4) % 7) + 7) % 7) + 1;
}
