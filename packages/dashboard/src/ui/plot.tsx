/**
 * A plot over time, drawn by uPlot. Loaded when the first one is shown: uPlot is a chunk of its own. What it draws is
 * also a table, for who can't see it.
 */
import { useEffect, useMemo, useRef, useState } from 'react';
import uPlot from 'uplot';
import 'uplot/dist/uPlot.min.css';

import { useTheme } from '../lib/theme.ts';
import { plotTime, pointTime } from '../lib/time.ts';

export interface PlotSeries {
  label: string;
  /** A colour of app.css: `ok` for `--ok`. */
  colour: 'ok' | 'bad' | 'warn' | 'link';
  values: readonly (number | null)[];
}

export interface PlotProps {
  /** What it shows, for who listens: `Deliveries`. */
  label: string;
  /** Unix seconds, oldest first. */
  at: readonly number[];
  rangeSeconds: number;
  series: readonly PlotSeries[];
  /** `stack`: bars, the first series at the bottom. */
  kind: 'stack' | 'lines';
  format(value: number): string;
}

const HEIGHT = 190;

function colour(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

/** Light or dark, as it is now: the canvas doesn't follow by itself. */
function useGround(): string {
  const theme = useTheme();
  const [dark, setDark] = useState(() => matchMedia('(prefers-color-scheme: dark)').matches);
  useEffect(() => {
    const query = matchMedia('(prefers-color-scheme: dark)');
    const onChange = () => setDark(query.matches);
    query.addEventListener('change', onChange);
    return () => query.removeEventListener('change', onChange);
  }, []);
  return theme === 'system' ? (dark ? 'dark' : 'light') : theme;
}

/** What uPlot draws: for a stack each series with those under it, the highest first. */
function drawn(
  at: readonly number[],
  series: readonly PlotSeries[],
  kind: PlotProps['kind'],
): uPlot.AlignedData {
  if (kind === 'lines') return [[...at], ...series.map(({ values }) => [...values])];
  const sums = series.map((_, top) =>
    at.map((_time, i) => series.slice(0, top + 1).reduce((sum, { values }) => sum + (values[i] ?? 0), 0)),
  );
  return [[...at], ...sums.toReversed()];
}

export default function Plot({ label, at, rangeSeconds, series, kind, format }: PlotProps) {
  const holder = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const [hovered, setHovered] = useState<number | null>(null);
  const ground = useGround();
  const data = useMemo(() => drawn(at, series, kind), [at, series, kind]);
  const look = series.map(({ label: name, colour: of }) => `${name}:${of}`).join();

  // Anew when it looks different; new data alone is only drawn.
  useEffect(() => {
    const element = holder.current;
    if (element === null) return undefined;
    const order = kind === 'stack' ? series.toReversed() : series;
    const axis: uPlot.Axis = {
      stroke: colour('faint'),
      grid: { stroke: colour('line'), width: 1 },
      ticks: { stroke: colour('line'), width: 1, size: 4 },
      font: '12px system-ui, sans-serif',
    };
    const made = new uPlot(
      {
        width: element.clientWidth,
        height: HEIGHT,
        legend: { show: false },
        padding: [8, 24, 0, 0],
        cursor: { y: false, drag: { x: false, y: false }, points: { show: kind === 'lines' } },
        scales: {
          // To the end of the last interval, whose bar begins where it begins.
          x: { time: true, range: (u) => [u.data[0][0] ?? 0, (u.data[0][0] ?? 0) + rangeSeconds] },
          y: { range: (_plot, _min, max) => [0, Math.max(max, kind === 'stack' ? 4 : 10) * 1.08] },
        },
        axes: [
          {
            ...axis,
            size: 30,
            space: 72,
            values: (_plot, times) => times.map((time) => plotTime(time, rangeSeconds)),
          },
          { ...axis, size: 56, values: (_plot, values) => values.map((value) => format(value)) },
        ],
        series: [
          {},
          ...order.map(
            ({ label: name, colour: of }): uPlot.Series =>
              kind === 'stack'
                ? {
                    label: name,
                    fill: colour(of),
                    width: 0,
                    points: { show: false },
                    paths: uPlot.paths.bars?.({ size: [0.7, 24], align: 1 }),
                  }
                : { label: name, stroke: colour(of), width: 1.5, spanGaps: true, points: { size: 4 } },
          ),
        ],
        hooks: {
          setCursor: [
            (u) =>
              setHovered(u.cursor.left !== undefined && u.cursor.left >= 0 ? (u.cursor.idx ?? null) : null),
          ],
        },
      },
      data,
      element,
    );
    plot.current = made;
    const observer = new ResizeObserver(() => made.setSize({ width: element.clientWidth, height: HEIGHT }));
    observer.observe(element);
    return () => {
      observer.disconnect();
      made.destroy();
      plot.current = null;
    };
    // oxlint-disable-next-line react-hooks/exhaustive-deps -- `series`, `data` and `format` are new objects at each render
  }, [ground, kind, look, rangeSeconds]);

  useEffect(() => {
    plot.current?.setData(data);
  }, [data]);

  const shown = hovered !== null && hovered < at.length ? hovered : null;
  return (
    <figure>
      <figcaption className="text-soft flex min-h-5 flex-wrap gap-x-4 text-[0.8125rem]">
        {series.map(({ label: name, colour: of, values }) => (
          <span key={name} className="inline-flex items-center gap-1.5">
            <span aria-hidden="true" className="size-2.5 rounded-sm" style={{ background: `var(--${of})` }} />
            {name}
            {shown !== null && (
              <strong className="text-ink font-medium tabular-nums">
                {values[shown] === null || values[shown] === undefined ? '–' : format(values[shown])}
              </strong>
            )}
          </span>
        ))}
        {shown !== null && (
          <span className="text-faint ml-auto tabular-nums">{pointTime(at[shown] as number)}</span>
        )}
      </figcaption>
      <div
        ref={holder}
        aria-hidden="true"
        style={{ height: HEIGHT }}
        className="mt-1 min-w-0 overflow-hidden"
      />
      <PlotTable label={label} at={at} series={series} format={format} />
    </figure>
  );
}

/** The same as a table: those times at which there was something. */
function PlotTable({ label, at, series, format }: Pick<PlotProps, 'label' | 'at' | 'series' | 'format'>) {
  const [open, setOpen] = useState(false);
  const rows = open
    ? at.map((_, i) => i).filter((i) => series.some(({ values }) => (values[i] ?? 0) !== 0))
    : [];
  return (
    <details
      className="text-soft mt-1 text-[0.8125rem]"
      onToggle={(event) => setOpen(event.currentTarget.open)}
    >
      <summary className="text-faint hover:text-ink w-fit rounded">As a table</summary>
      {open && rows.length === 0 && <p className="pt-1">There is nothing in this time.</p>}
      {rows.length > 0 && (
        // A region that scrolls has to be reached by the keyboard.
        // oxlint-disable-next-line jsx-a11y/no-noninteractive-tabindex
        <div
          tabIndex={0}
          role="region"
          aria-label={`${label}, as a table`}
          className="max-h-56 overflow-auto"
        >
          <table className="mt-1 w-full text-left">
            <thead>
              <tr className="text-faint">
                <th scope="col" className="py-0.5 pr-3 font-medium">
                  From
                </th>
                {series.map(({ label: name }) => (
                  <th key={name} scope="col" className="py-0.5 pr-3 text-right font-medium">
                    {name}
                  </th>
                ))}
              </tr>
            </thead>
            <tbody>
              {rows.map((i) => (
                <tr key={at[i]} className="border-line border-t">
                  <td className="py-0.5 pr-3 tabular-nums">{pointTime(at[i] as number)}</td>
                  {series.map(({ label: name, values }) => (
                    <td key={name} className="py-0.5 pr-3 text-right tabular-nums">
                      {values[i] === null || values[i] === undefined ? '–' : format(values[i])}
                    </td>
                  ))}
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </details>
  );
}
