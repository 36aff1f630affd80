/** How the process of `serve` ends: on a signal in order, by force when that takes too long, and after a defect. */
import type { ServiceLogger } from './logger.ts';

/** Short enough that the process is gone within 10 s of the signal. */
const STOP_DEADLINE_MS = 9500;

/**
 * Resolves at the first SIGTERM or SIGINT. From then on a second one ends the process at once, and so does the end of
 * the deadline: both with exit code 1.
 */
export function stopSignal(log: ServiceLogger, deadlineMs = STOP_DEADLINE_MS): Promise<NodeJS.Signals> {
  return new Promise((resolve) => {
    let stopping = false;
    const onSignal = (signal: NodeJS.Signals) => {
      if (stopping) {
        log.logger.warn({ signal }, 'second signal: ending at once, nothing accepted is lost');
        endByForce(log);
      }
      stopping = true;
      log.logger.info({ signal }, 'stopping');
      endByForceAfter(log, deadlineMs);
      resolve(signal);
    };
    process.on('SIGTERM', onSignal);
    process.on('SIGINT', onSignal);
  });
}

/** Ends the process with code 1 if it is still there by then. */
export function endByForceAfter(log: ServiceLogger, deadlineMs = STOP_DEADLINE_MS): void {
  setTimeout(() => {
    log.logger.error(
      { deadline_ms: deadlineMs },
      'the stop took too long: ending by force, nothing accepted is lost',
    );
    endByForce(log);
  }, deadlineMs).unref();
}

function endByForce({ flush }: ServiceLogger): never {
  flush();
  process.exit(1);
}

/** A defect that nothing caught leaves a log line before it ends the process with code 1; the next start recovers. */
export function dieLoudly(log: ServiceLogger): void {
  process.on('uncaughtException', (error) => {
    log.logger.fatal({ err: error }, 'a defect: ending the process');
    endByForce(log);
  });
}
