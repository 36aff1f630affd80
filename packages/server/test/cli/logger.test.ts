import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Io, Output } from '../../src/cli/io.ts';
import { createLogger, prettyLine } from '../../src/cli/logger.ts';
import { formatTable, formatTime, harmless } from '../../src/cli/output.ts';

function logged(settings: Parameters<typeof createLogger>[0], isTTY: boolean): string[] {
  const lines: string[] = [];
  const stdout: Output = { write: (text) => lines.push(text), isTTY };
  const { logger } = createLogger(settings, { stdout } as Io);
  logger.debug('too little');
  logger.info({ delivery_id: 'dlv_1', duration_ms: 12, error: 'no "route"' }, 'attempt');
  return lines;
}

describe('the log of serve', () => {
  it('is one JSON document a line, with the level by name and an ISO time', () => {
    const lines = logged({ logLevel: 'info', logFormat: 'auto' }, false);
    assert.equal(lines.length, 1);
    const { time, ...line } = JSON.parse(lines[0] ?? '');
    assert.match(time, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
    assert.deepEqual(line, {
      level: 'info',
      delivery_id: 'dlv_1',
      duration_ms: 12,
      error: 'no "route"',
      msg: 'attempt',
    });
  });

  it('is made for people on a terminal', () => {
    const expected =
      /^\d\d:\d\d:\d\d\.\d{3} info {2}attempt delivery_id=dlv_1 duration_ms=12 error="no \\"route\\""\n$/;
    assert.match(logged({ logLevel: 'info', logFormat: 'auto' }, true).join(''), expected);
    assert.match(logged({ logLevel: 'info', logFormat: 'pretty' }, false).join(''), expected);
    assert.doesNotMatch(logged({ logLevel: 'info', logFormat: 'json' }, true).join(''), expected);
  });

  it('holds only what is severe enough', () => {
    assert.deepEqual(logged({ logLevel: 'silent', logFormat: 'json' }, false), []);
    assert.equal(logged({ logLevel: 'debug', logFormat: 'json' }, false).length, 2);
  });

  it('shows what an object holds as fields of its own', () => {
    const line = prettyLine(
      JSON.stringify({
        level: 'info',
        time: '2026-01-31T12:00:00.000Z',
        msg: 'starting',
        settings: { timeout: '5s', note: 'a b' },
        list: [1],
      }),
    );
    assert.equal(line, '12:00:00.000 info  starting settings.timeout=5s settings.note="a b" list=[1]');
  });

  it('can’t be made to steer the terminal', () => {
    const line = prettyLine(
      JSON.stringify({ level: 'warn', time: '2026-01-31T12:00:00.000Z', msg: 'a\x1b[2J', url: '\x9b2J\nx' }),
    );
    assert.equal(line, '12:00:00.000 warn  a\\x1b[2J url="\\x9b2J\\nx"');
  });
});

describe('a table', () => {
  it('aligns words to the left and numbers to the right', () => {
    assert.deepEqual(
      formatTable(
        ['NAME', 'N', 'WHEN'],
        [
          ['a', 1, null],
          ['long name', 200, 'now'],
        ],
      ),
      ['NAME         N  WHEN', 'a            1  -', 'long name  200  now'],
    );
  });

  it('is its headings when there is nothing', () => {
    assert.deepEqual(formatTable(['NAME', 'N'], []), ['NAME  N']);
  });

  it('keeps every character that is harmless', () => {
    assert.equal(harmless('Ärger → ✓ 東京 🎬'), 'Ärger → ✓ 東京 🎬');
  });

  it('shows a time that no date can hold as it came', () => {
    assert.equal(formatTime(1e15), '1000000000000000');
    assert.equal(formatTime(0), '1970-01-01 00:00:00Z');
  });
});
