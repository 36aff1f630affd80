/**
 * What the benchmark tells a peer's process to be, and what the process answers: each order goes over the process's IPC
 * channel, so that neither keys nor a database's password are seen in a list of processes.
 */

/** Which queue carries the deliveries. */
export type QueueName = 'bullmq' | 'pg-boss' | 'graphile-worker';

interface Order {
  queue: QueueName;
  /** `redis://…` for BullMQ, `postgres://…` for the others. */
  databaseUrl: string;
  /** The fleet as JSON, as `Site.fleetFile` names it. */
  fleetFile: string;
  /** Does what Posthorn does beside queueing and sending: see `peer/promises.ts`. */
  keepsPromises: boolean;
}

/** Be a part of the running service until SIGTERM: the API when `api` is given, the workers when `delivers`. */
export interface ServeOrder extends Order {
  task: 'serve';
  api: { port: number; apiKey: string } | null;
  delivers: boolean;
  /** Unix ms at which the benchmark began to start the service: none of its processes is older. */
  servingSince: number;
}

/** Make the tables that the queue and the log of attempts need, then end. */
export interface SetUpOrder extends Order {
  task: 'setUp';
}

/** Store history and waiting deliveries in bulk, then end. */
export interface FillOrder extends Order {
  task: 'fill';
  finished: number;
  pending: number;
}

export type Plan = ServeOrder | SetUpOrder | FillOrder;

/** The process's only message: it serves, or its task is done. */
export interface Ready {
  ready: true;
}
