/**
 * What a backup costs those who wait for their events: latency under a steady load, beside no backup and beside one after
 * the other.
 *
 *   node bench/backup.ts [size of the database in MiB, 1500 unless told] [events per second, 200 unless told]
 *
 * From the sending of the publish to the arrival, so the commit counts as well. Needs three times the database's size in
 * the temporary folder. The ballast is rows of random bytes, which a backup copies and checks page by page like all others.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { text as textOf } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { openDatabase } from '../packages/server/src/store/sqlite/database.ts';
import {
  arrivalKeyOf,
  createAccounts,
  inMs,
  latenciesOf,
  onSite,
  percentile,
  publishSteadily,
  runReceiver,
  startReceiver,
  startService,
  until,
  usernameOf,
} from './support.ts';

const POSTHORN = fileURLToPath(new URL('../packages/server/src/cli/main.ts', import.meta.url));
const WARM_UP_MS = 3000;
const MEASURED_MS = 10_000;
/** After the last backup the log is written back, which may be felt as well. */
const AFTER_MS = 5000;

if (process.argv[2] === 'receiver') await runReceiver();
else await runBench(Number(process.argv[2] ?? 1500), Number(process.argv[3] ?? 200));

async function runBench(sizeMib: number, perSecond: number): Promise<void> {
  await onSite(async (site) => {
    const database = join(site.folder, 'posthorn.db');
    fill(database, sizeMib);
    const arrivals = new Map<string, number>();
    const port = await startReceiver(site, import.meta.url, 'receiver', arrivals);
    const api = await startService(site);
    await createAccounts(api, port);

    const load = async (name: string, forMs: number): Promise<void> => {
      const sent = new Map<string, number>();
      await publishSteadily(api, {
        perSecond,
        forMs,
        name,
        usernameOf,
        onSend: (id, at) => sent.set(arrivalKeyOf(id), at),
      });
      await until(() => [...sent.keys()].every((key) => arrivals.has(key)), 10_000);
      const latencies = latenciesOf(sent, arrivals);
      const figures = [0.5, 0.99].map((share) => `p${share * 100} ${inMs(percentile(latencies, share))}`);
      const missing = sent.size - latencies.length;
      console.log(
        `${name.padEnd(16)} ${sent.size} events, ${missing} missing, ${figures.join(', ')}, max ${inMs(latencies.at(-1) ?? 0)}`,
      );
    };
    await load('warm-up', WARM_UP_MS);
    await load('no-backup', MEASURED_MS);
    const reports: string[] = [];
    const backups = backUpUntil(site.folder, database, performance.now() + MEASURED_MS, reports);
    await load('during-backups', MEASURED_MS);
    await backups;
    await load('after-the-last', AFTER_MS);
    for (const report of reports) console.log(report);
  });
}

function fill(database: string, sizeMib: number): void {
  const db = openDatabase(database);
  try {
    // A bench's file may be lost in a power cut.
    db.pragma('synchronous = OFF');
    db.exec('CREATE TABLE ballast (number INTEGER PRIMARY KEY, content BLOB)');
    const insert = db.prepare(
      `INSERT INTO ballast (content) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)
       SELECT randomblob(3900) FROM n`,
    );
    for (let left = sizeMib; left > 0; left -= 50) insert.run(Math.min(left, 50) * 256);
    db.pragma('wal_checkpoint(TRUNCATE)');
  } finally {
    db.close();
  }
}

/** One backup after the other, as a person or a timer makes them: in a process of its own. */
async function backUpUntil(folder: string, database: string, end: number, reports: string[]): Promise<void> {
  const place = join(folder, 'backups');
  await mkdir(place);
  while (performance.now() < end) {
    const args = ['backup', '--to', join(place, 'backup.db'), '--no-key', '--force'];
    const child = spawn(process.execPath, [POSTHORN, ...args, '--database-url', `sqlite:${database}`], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const [report, [code]] = await Promise.all([textOf(child.stdout), once(child, 'close')]);
    if (code !== 0) throw new Error(`the backup ended with exit code ${code}`);
    reports.push(report.split('\n')[1] ?? '');
  }
  await rm(place, { recursive: true });
}
