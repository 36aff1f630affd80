/** Times and durations as people read them. The API's times are unix seconds. */

const MINUTE = 60;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

const local = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'medium' });

/** In the viewer's zone and manner: `24 Nov 2026, 09:12:31`. */
export function localTime(unixSeconds: number): string {
  return local.format(unixSeconds * 1000);
}

/** `2026-11-24 08:12:31 UTC` */
export function utcTime(unixSeconds: number): string {
  return `${new Date(unixSeconds * 1000).toISOString().slice(0, 19).replace('T', ' ')} UTC`;
}

/**
 * A span in its two largest units: `45 s`, `3 min 20 s`, `2 h 5 min`, `4 d 3 h`.
 *
 * @param seconds - a negative span is read as 0
 */
export function span(seconds: number): string {
  const s = Math.max(0, Math.round(seconds));
  const two = (large: number, largeUnit: string, small: number, smallUnit: string) =>
    small === 0 ? `${large} ${largeUnit}` : `${large} ${largeUnit} ${small} ${smallUnit}`;
  if (s < MINUTE) return `${s} s`;
  if (s < HOUR) return two(Math.floor(s / MINUTE), 'min', s % MINUTE, 's');
  if (s < DAY) return two(Math.floor(s / HOUR), 'h', Math.floor((s % HOUR) / MINUTE), 'min');
  return two(Math.floor(s / DAY), 'd', Math.floor((s % DAY) / HOUR), 'h');
}

/** A span in its largest unit: `45 s`, `3 min`, `2 h`, `4 d`. */
export function roughSpan(seconds: number): string {
  const s = Math.max(0, Math.floor(seconds));
  if (s < MINUTE) return `${s} s`;
  if (s < HOUR) return `${Math.floor(s / MINUTE)} min`;
  if (s < DAY) return `${Math.floor(s / HOUR)} h`;
  return `${Math.floor(s / DAY)} d`;
}

/** How long ago, or in how long: `just now`, `3 min ago`, `in 2 h`. */
export function age(unixSeconds: number, nowSeconds: number): string {
  const seconds = nowSeconds - unixSeconds;
  if (seconds < -1) return `in ${roughSpan(-seconds)}`;
  return seconds < 5 ? 'just now' : `${roughSpan(seconds)} ago`;
}

/** `84 ms`, `1.25 s`; a dash for null. */
export function milliseconds(ms: number | null): string {
  if (ms === null) return '–';
  return ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(2)} s`;
}

const clockTime = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit' });
const dayTime = new Intl.DateTimeFormat(undefined, { day: 'numeric', month: 'short' });

/** A time under a plot: of the day where the plot is a day or shorter, else the date. */
export function plotTime(unixSeconds: number, rangeSeconds: number): string {
  return (rangeSeconds > DAY ? dayTime : clockTime).format(unixSeconds * 1000);
}

/** The point of a plot that is looked at: `24 Nov, 09:15`. */
export function pointTime(unixSeconds: number): string {
  return `${dayTime.format(unixSeconds * 1000)}, ${clockTime.format(unixSeconds * 1000)}`;
}

/** What `<input type="datetime-local">` takes, in the viewer's zone: `2026-11-24T09:12`. */
export function toLocalInput(unixSeconds: number): string {
  const at = new Date(unixSeconds * 1000);
  return new Date(at.getTime() - at.getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
}

/** The other way; null when it is no time. */
export function fromLocalInput(text: string): number | null {
  const ms = new Date(text).getTime();
  return Number.isNaN(ms) ? null : Math.floor(ms / 1000);
}
