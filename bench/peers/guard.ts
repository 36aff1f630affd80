/**
 * A process that outlives a run by a moment. However the run ends, SIGKILL included, the channel between them closes; then
 * what the run started is killed and its folder removed. No handler within the run could promise that.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { rmSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

type Note = { started: number } | { ended: number };

/** The run's side. */
export class Guard {
  readonly #child: ChildProcess;

  /** @param folder - what is removed with the run */
  constructor(folder: string) {
    this.#child = spawn(process.execPath, [fileURLToPath(import.meta.url), 'as-process', folder], {
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
      // Ctrl-C reaches the whole group: the guard has to outlive it.
      detached: true,
    });
    this.#child.unref();
    this.#child.channel?.unref();
  }

  /** Notes a process that leads a group of its own; it is forgotten when it ends. */
  watch(child: ChildProcess): void {
    const { pid } = child;
    if (pid === undefined) return;
    this.#tell({ started: pid });
    child.once('exit', () => this.#tell({ ended: pid }));
  }

  /** Lets it do its work now. */
  release(): void {
    if (this.#child.connected) this.#child.disconnect();
  }

  #tell(note: Note): void {
    if (this.#child.connected) this.#child.send(note);
  }
}

/** Kills a process that leads a group, with the whole group. */
export function killGroup(pid: number): void {
  try {
    process.kill(-pid, 'SIGKILL');
  } catch {
    // It has ended already.
  }
}

function runGuard(folder: string): void {
  const alive = new Set<number>();
  process.on('message', (note: Note) => {
    if ('started' in note) alive.add(note.started);
    else alive.delete(note.ended);
  });
  process.once('disconnect', () => {
    for (const pid of alive) killGroup(pid);
    rmSync(folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
  });
}

if (process.argv[2] === 'as-process') runGuard(process.argv[3] ?? '');
