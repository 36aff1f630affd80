import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { settingsTable } from '../src/config.ts';

const README = readFileSync(new URL('../../../README.md', import.meta.url), 'utf8');

describe('README', () => {
  it('lists the settings as the configuration has them', () => {
    const table = /<!-- settings:[^>]*-->\n(.*)<!-- \/settings -->/s.exec(README)?.[1];
    assert.equal(table, settingsTable(), 'copy what settingsTable() answers between the settings marks');
  });

  it('names only commands of npm that the workspace has', () => {
    const manifest = readFileSync(new URL('../../../package.json', import.meta.url), 'utf8');
    const { scripts } = JSON.parse(manifest) as { scripts: Record<string, string> };
    const named = [...README.matchAll(/npm (?:run )?(start|test|(?<=run )[\w:]+)/g)].map(([, name]) => name);
    assert.ok(named.length >= 3, 'the README shows the commands');
    for (const name of named) assert.ok(name !== undefined && name in scripts, `npm run ${name}`);
  });
});
