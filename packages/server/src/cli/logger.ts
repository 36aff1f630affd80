import { type DestinationStream, type Logger, pino } from 'pino';
import type { Config } from '../config.ts';
import type { Io } from './io.ts';
import { openLogDestination } from './log-destination.ts';
import { harmless, printLine } from './output.ts';

export interface ServiceLogger {
  logger: Logger;
  /** Writes what waits at once, for a process that is about to be ended by force. */
  flush(): void;
  /** Resolves when all lines are written, in their order. Nothing may be logged after it. */
  close(): Promise<void>;
}

/** The log of `serve` on stdout: JSON lines, or on a terminal lines for people. */
export function createLogger(config: Pick<Config, 'logLevel' | 'logFormat'>, io: Io): ServiceLogger {
  const options = {
    level: config.logLevel,
    base: null,
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: (label: string) => ({ level: label }) },
  };
  const pretty = config.logFormat === 'pretty' || (config.logFormat === 'auto' && io.stdout.isTTY === true);
  if (pretty || io.stdout !== process.stdout) {
    const destination: DestinationStream = {
      write: (line) => (pretty ? printLine(io.stdout, prettyLine(line)) : io.stdout.write(line)),
    };
    return { logger: pino(options, destination), flush: () => {}, close: async () => {} };
  }
  const destination = openLogDestination(1);
  return {
    logger: pino(options, destination),
    flush: () => destination.flushSync(),
    close: () => destination.close(),
  };
}

/**
 * A JSON log line as one line for people: time, level, message, and the rest as `name=value`; what an object holds
 * stands for itself, as `name.part=value`.
 *
 * @example
 * prettyLine('{"level":"info","time":"2026-01-31T12:00:00.000Z","msg":"listening","port":80}');
 * // '12:00:00.000 info  listening port=80'
 */
export function prettyLine(json: string): string {
  const { level, time, msg, ...fields } = JSON.parse(json) as Record<string, unknown>;
  const rest = Object.entries(fields).flatMap(([name, value]) => {
    if (name === 'err' || !isRecord(value)) return [`${name}=${prettyValue(name, value)}`];
    return Object.entries(value).map(
      ([part, inner]) => `${name}.${part}=${prettyValue(`${name}.${part}`, inner)}`,
    );
  });
  return [String(time).slice(11, 23), String(level).padEnd(5), harmless(String(msg ?? '')), ...rest].join(
    ' ',
  );
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function prettyValue(name: string, value: unknown): string {
  if (name === 'err') {
    const { message, stack } = value as { message?: unknown; stack?: unknown };
    return harmless(String(stack ?? message));
  }
  const text = typeof value === 'string' ? value : JSON.stringify(value);
  return harmless(text === '' || /[\s"=]/.test(text) ? JSON.stringify(text) : text);
}
