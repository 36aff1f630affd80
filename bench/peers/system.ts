/**
 * What the benchmark asks of a system under test. Each file in `systems/` exports one or several of these; the frame
 * knows nothing else about them. Importing a system's file has no effect and loads none of its dependencies: those are
 * imported by the processes that it starts.
 */
import type { ChildProcess, SpawnOptions } from 'node:child_process';

/** The type of every event of the benchmark: one of the built-in ones, so that its data has a schema to be checked by. */
export const EVENT_TYPE = 'generated_video_success';

/** Who receives: accounts with their endpoints, each of which subscribes to {@link EVENT_TYPE}. */
export interface Fleet {
  accounts: {
    username: string;
    /** `number` counts over the whole fleet; the path of `url` is `/e/<number>`. `secret` is a whole `whsec_…` string. */
    endpoints: { number: number; url: string; secret: string }[];
  }[];
}

/**
 * `ingest` accepts events and delivers nothing; `deliver` delivers what was accepted before; `both` does both. The data
 * stays from one start to the next.
 */
export type Mode = 'ingest' | 'deliver' | 'both';

/** A system that is ready: events are accepted where its mode accepts them, deliveries run where it delivers. */
export interface Running {
  /** Where it takes `POST /v2/publish` on 127.0.0.1; null when it accepts nothing. */
  port: number | null;
  /** The value of the header `x-api-key`. */
  apiKey: string;
  /** Roots of the process trees of the system and of its database: what CPU time and memory are summed over. */
  pids(): number[];
  /** Ends it in order; resolves when its processes are gone. Its database may go on running. */
  stop(): Promise<void>;
  /** Ends it by SIGKILL, its database not included; resolves when its processes are gone. */
  kill(): Promise<void>;
}

/** A system under test. One object is used for many runs, one after another: `setUp`, any number of starts, `tearDown`. */
export interface System {
  /** `posthorn-sqlite`, `bullmq-always`: what `--systems` takes and the table shows. */
  name: string;
  /** Everything that was set other than the default, and why where that isn't plain; listed in the report. */
  settings: Record<string, string>;
  /** `storage` that survives a power cut is `durable`; `every second` may lose a second; `none` has no storage at all. */
  durability: 'durable' | 'every second' | 'none';
  /** Which of the ratios of the report it counts for; `same-work` has a column of its own among them. */
  family: 'posthorn-sqlite' | 'posthorn-postgres' | 'postgres-peer' | 'other-peer' | 'same-work' | 'bound';
  /** True, or a sentence that says what is missing and how to get it. */
  isAvailable(): Promise<true | string>;
  /**
   * Makes an empty database that knows the fleet. Not measured. A system that makes its endpoints' secrets itself writes
   * them into the fleet; the receivers read them after this.
   */
  setUp(site: Site, fleet: Fleet): Promise<void>;
  /**
   * Starts the processes and resolves when they are ready.
   *
   * @throws Error when it ends or isn't ready within 30 s
   */
  start(mode: Mode): Promise<Running>;
  /**
   * Instead of ingest, where a system has none: makes these events of the given accounts wait for `start('deliver')`,
   * one delivery for each endpoint of the account.
   */
  prepare?(events: readonly { username: string; eventId: string; data: unknown }[]): Promise<void>;
  /**
   * Stores deliveries in bulk, spread over the fleet's endpoints, while it is stopped: `finished` ones as its history
   * keeps them, and `pending` ones that have failed once and are due again in an hour or later. Missing where a system
   * can't be filled.
   */
  fill?(counts: { finished: number; pending: number }): Promise<void>;
  /** Removes its database and whatever it left running. Works after any failure, and when there was no `setUp`. */
  tearDown(): Promise<void>;
}

/** What the frame gives to systems: a place, processes and databases, all of which end with the run however it ends. */
export interface Site {
  /** A folder of this run; gone after it. Make your own folder in it. */
  folder: string;
  /** A file that holds the fleet given to the last `setUp` as JSON, for processes that keep it in memory. */
  fleetFile: string;
  /**
   * Starts a process that dies with the run. A `.ts` file is run by this Node. Its output goes to `<name>.log` in the folder
   * unless `stdio` is given; the environment is this process's with `env` added.
   */
  spawn(name: string, command: string, args: readonly string[], options?: SpawnOptions): ChildProcess;
  /** The end of what a process of that name wrote, for messages. */
  logTail(name: string): Promise<string>;
  /** The git revision of Posthorn that is measured; null: the working tree. */
  revision: string | null;
  /** A port on 127.0.0.1 that nobody listens on. */
  freePort(): Promise<number>;
  /** The PostgreSQL server that all systems of the run share, started at the first call. */
  postgres(): Promise<Postgres>;
}

/** A PostgreSQL server of the run's own, with fsync on. */
export interface Postgres {
  /** The postmaster: root of its process tree. */
  pid: number;
  /** What is set other than PostgreSQL's defaults. */
  settings: Record<string, string>;
  /** Makes an empty database, in place of one of that name; answers its URL, whose user is a superuser. */
  createDatabase(name: string): Promise<string>;
  dropDatabase(name: string): Promise<void>;
}
