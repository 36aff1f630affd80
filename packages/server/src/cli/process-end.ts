/** How the process of `serve` ends: on a signal in order, by force when that takes too long, and after a defect. */
import type { ServiceLogger } from './logger.ts';

/** Short enough that the process is gone within 10 s of the signal. */
const STOP_DEADLINE_MS = 9500;

/**
 * Resolves at the first SIGTERM or SIGINT. From then on a second one ends the process at once, and so does the end of
 * the deadline: both with exit code 1.
 */
export function stopSignal(
  { logger, flush }: ServiceLogger,
  deadlineMs = STOP_DEADLINE_MS,
): Promise<NodeJS.Signals> {
  const endByForce = () => {
    flush();
    process.exit(1);
  };
  return new Promise((resolve) => {
    let stopping = false;
    const onSignal = (signal: NodeJS.Signals) => {
      if (stopping) {
        logger.warn({ signal }, 'second signal: ending at once, nothing accepted is lost');
        endByForce();
      }
      stopping = true;
      logger.info({ signal }, 'stopping');
      setTimeout(() => {
        logger.error(
          { deadline_ms: deadlineMs },
          'the stop took too long: ending by force, nothing accepted is lost',
        );
        endByForce();
      }, deadlineMs).unref();
      resolve(signal);
    };
    process.on('SIGTERM', onSignal);
    process.on('SIGINT', onSignal);
  });
}

/** A defect that nothing caught leaves a log line before it ends the process with code 1; the next start recovers. */
export function dieLoudly({ logger, flush }: ServiceLogger): void {
  process.on('uncaughtException', (error) => {
    logger.fatal({ err: error }, 'a defect: ending the process');
    flush();
    process.exit(1);
  });
}
