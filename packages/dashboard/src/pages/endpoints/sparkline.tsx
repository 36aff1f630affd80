/** A day of an endpoint in 24 bars: delivered, and failed attempts on top. */
import type { Stats } from '../../api/types.ts';
import { count } from '../../lib/text.ts';

const HOUR_SECONDS = 3600;
const HOURS = 24;
const WIDTH = 120;
const HEIGHT = 24;

export interface HourOfDeliveries {
  delivered: number;
  failed: number;
}

/**
 * The hours of one endpoint, oldest first, gaps filled with nothing.
 *
 * @param since - the beginning of the first hour, unix seconds
 */
export function hoursOf(series: Stats['series'], endpointId: string, since: number): HourOfDeliveries[] {
  const hours = Array.from({ length: HOURS }, () => ({ delivered: 0, failed: 0 }));
  for (const point of series) {
    if (point.key !== endpointId) continue;
    const hour = hours[Math.floor((point.at - since) / HOUR_SECONDS)];
    if (hour === undefined) continue;
    hour.delivered += point.delivered;
    hour.failed += point.failed_attempts;
  }
  return hours;
}

export function Sparkline({ hours }: { hours: readonly HourOfDeliveries[] }) {
  const most = Math.max(1, ...hours.map(({ delivered, failed }) => delivered + failed));
  const delivered = hours.reduce((sum, hour) => sum + hour.delivered, 0);
  const failed = hours.reduce((sum, hour) => sum + hour.failed, 0);
  const step = WIDTH / HOURS;
  const height = (value: number) => (value === 0 ? 0 : Math.max(1.5, (value / most) * HEIGHT));
  const words = `Last 24 hours: ${count(delivered)} delivered, ${count(failed)} failed attempts`;
  return (
    <span className="inline-flex items-center gap-2" title={words}>
      <svg
        viewBox={`0 0 ${WIDTH} ${HEIGHT}`}
        width={WIDTH}
        height={HEIGHT}
        role="img"
        aria-label={words}
        className="shrink-0"
      >
        <path d={`M0 ${HEIGHT - 0.5}H${WIDTH}`} stroke="var(--line)" strokeWidth="1" />
        {hours.map((hour, index) => {
          const ok = height(hour.delivered);
          const bad = height(hour.failed);
          return (
            <g key={index}>
              {ok > 0 && (
                <rect x={index * step} y={HEIGHT - ok} width={step - 1} height={ok} fill="var(--ok)" />
              )}
              {bad > 0 && (
                <rect
                  x={index * step}
                  y={HEIGHT - ok - bad}
                  width={step - 1}
                  height={bad}
                  fill="var(--bad)"
                />
              )}
            </g>
          );
        })}
      </svg>
    </span>
  );
}
