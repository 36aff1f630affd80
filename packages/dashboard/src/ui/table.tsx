/** Tables: rows with links on wide screens, cards on narrow ones (`.cards` in app.css). */
import type { ReactNode } from 'react';

import { cx } from '../lib/text.ts';

export interface Column<Row> {
  /** The heading; also the label beside the value on narrow screens. */
  header: string;
  /** The heading is only for who listens, as over a column of buttons. */
  hideHeader?: boolean;
  cell(row: Row): ReactNode;
  /** The first thing of a card: shown without its label. */
  lead?: boolean;
  align?: 'right';
  /** Classes of the cells: widths (`w-40`, `max-w-0 w-full` for the one that truncates), `hidden md:table-cell`. */
  className?: string;
}

interface DataTableProps<Row> {
  /** What it lists, for who listens. */
  label: string;
  columns: readonly Column<Row>[];
  rows: readonly Row[];
  rowKey(row: Row): string;
  /** Rows that came by themselves: lit up for a moment when they appear. */
  isFresh?(row: Row): boolean;
  /** While the next page loads the old one stays, dimmed: nothing jumps. */
  stale?: boolean;
}

export function DataTable<Row>({
  label,
  columns,
  rows,
  rowKey,
  isFresh,
  stale = false,
}: DataTableProps<Row>) {
  return (
    <div
      className={cx('cards border-line bg-surface overflow-x-auto rounded-lg border', stale && 'opacity-60')}
    >
      <table className="w-full border-collapse text-left" aria-label={label} aria-busy={stale || undefined}>
        <thead>
          <tr className="border-line border-b">
            {columns.map((column) => (
              <th
                key={column.header}
                scope="col"
                className={cx(
                  'text-faint h-8 px-3 text-xs font-medium whitespace-nowrap',
                  column.align === 'right' && 'text-right',
                  column.className,
                )}
              >
                {column.hideHeader ? <span className="sr-only">{column.header}</span> : column.header}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map((row) => (
            <tr
              key={rowKey(row)}
              className={cx('border-line hover:bg-hover border-b last:border-b-0', isFresh?.(row) && 'fresh')}
            >
              {columns.map((column) => (
                <td
                  key={column.header}
                  data-label={column.hideHeader ? undefined : column.header}
                  data-lead={column.lead || undefined}
                  className={cx(
                    'px-3 py-2 align-middle',
                    column.align === 'right' && 'text-right tabular-nums',
                    column.className,
                  )}
                >
                  {column.cell(row)}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
