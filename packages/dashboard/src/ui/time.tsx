/** Times in the viewer's zone, with UTC on hover; ages and countdowns that go on by themselves. */
import { useNow } from '../lib/now.ts';
import { age, localTime, span, utcTime } from '../lib/time.ts';

function iso(unixSeconds: number): string {
  return new Date(unixSeconds * 1000).toISOString();
}

/** `24 Nov 2026, 09:12:31` */
export function Time({ at }: { at: number }) {
  return (
    <time dateTime={iso(at)} title={utcTime(at)} className="tabular-nums">
      {localTime(at)}
    </time>
  );
}

/** `3 min ago`, `in 2 h` */
export function Age({ at }: { at: number }) {
  const text = useNow((now) => age(at, now));
  return (
    <time
      dateTime={iso(at)}
      title={`${localTime(at)} · ${utcTime(at)}`}
      className="whitespace-nowrap tabular-nums"
    >
      {text}
    </time>
  );
}

/** `24 Nov 2026, 09:12:31 (3 min ago)` */
export function TimeAndAge({ at }: { at: number }) {
  return (
    <span>
      <Time at={at} /> <span className="text-faint">({<Age at={at} />})</span>
    </span>
  );
}

/** `in 4 min 12 s`, second by second; `passed` when the time has come. */
export function Countdown({ to, passed = 'due now' }: { to: number; passed?: string }) {
  const text = useNow((now) => (to <= now ? passed : `in ${span(to - now)}`));
  return (
    <time
      dateTime={iso(to)}
      title={`${localTime(to)} · ${utcTime(to)}`}
      className="whitespace-nowrap tabular-nums"
    >
      {text}
    </time>
  );
}
