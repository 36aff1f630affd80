/** The report of a run, as Markdown. Pure. */
import { FIGURES } from './figure-names.ts';
import { type Results, valueOf } from './results.ts';
import { besideSameWork, judge } from './targets.ts';

const NOT_MEASURED = '–';

/** The whole report: figures, targets, settings, machine. */
export function writeReport(results: Results): string {
  const { machine } = results;
  const parts = [
    `## Benchmark, ${results.form} form`,
    `Medians over the rounds; every row's systems were measured in turns. ${machine.cores} cores (${machine.cpu}), ${machine.memoryGiB} GiB, Linux ${machine.kernel}, Node ${machine.node}; ${results.startedAt}.`,
    figureTable(results),
    missingList(results),
    '### Targets',
    targetTable(results),
    sameWorkTable(results),
    '### Settings',
    settingsList(results),
  ];
  return `${parts.filter((part) => part !== '').join('\n\n')}\n`;
}

function figureTable({ systems }: Results): string {
  const measured = FIGURES.filter(({ key }) => systems.some(({ samples }) => samples[key] !== undefined));
  const rows = measured.map(({ key, title, unit, digits }) => [
    `${title} (${unit})`,
    ...systems.map((system) => shown(valueOf(system, key), digits)),
  ]);
  const rounds = systems.map(({ samples }) =>
    String(Math.max(0, ...Object.values(samples).map((values) => values.length))),
  );
  return table(['', ...systems.map(({ name }) => name)], [...rows, ['rounds', ...rounds]]);
}

function targetTable({ systems }: Results): string {
  const rows = judge(systems).map(({ title, system, value, limit, isMet }) => [
    title,
    system,
    shown(value, 2),
    limit,
    isMet === null ? 'not measured' : isMet ? 'met' : '**missed**',
  ]);
  return table(['target', 'system', 'measured', 'limit', ''], rows);
}

function sameWorkTable({ systems }: Results): string {
  const rows = besideSameWork(systems).map(({ title, system, ratio }) => [title, system, shown(ratio, 2)]);
  if (rows.length === 0) return '';
  const title = 'Beside a peer that does the same work (its settings say what), as a part of its figure:';
  return `${title}\n\n${table(['', 'system', 'ratio'], rows)}`;
}

function missingList({ systems }: Results): string {
  return systems
    .flatMap(({ name, missing }) =>
      Object.entries(missing).map(
        ([measure, reason]) => `- ${name}${measure === '*' ? '' : `, ${measure}`}: not measured: ${reason}`,
      ),
    )
    .join('\n');
}

function settingsList({ systems, postgresSettings }: Results): string {
  const lines = systems.map(
    ({ name, durability, settings }) => `- **${name}** (${durability}): ${pairs(settings)}`,
  );
  if (Object.keys(postgresSettings).length > 0)
    lines.push(`- **PostgreSQL 18**, the same for all: ${pairs(postgresSettings)}`);
  return lines.join('\n');
}

function pairs(settings: Record<string, string>): string {
  return Object.entries(settings)
    .map(([name, value]) => `${name}: ${value}`)
    .join('; ');
}

function shown(value: number, digits: number): string {
  if (Number.isNaN(value)) return NOT_MEASURED;
  return value.toLocaleString('en-US', { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`;
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n');
}
