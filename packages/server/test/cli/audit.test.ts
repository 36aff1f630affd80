/** `posthorn audit`. */
import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { callCli, FakeServer, success } from './harness.ts';

const UPDATE = {
  audit_id: 'aud_2',
  at: 1_767_225_600,
  actor: 'account',
  key_id: 'key_1',
  key_account: 'alice',
  via: 'PUT /v2/endpoint/:endpoint_id',
  request_id: 'req_2',
  remote_address: '203.0.113.9',
  through: 'portal',
  action: 'endpoint.update',
  target_type: 'endpoint',
  target: 'wh_1',
  account: 'alice',
  before: { status: 'enabled', headers: null },
  after: { status: 'disabled', headers: '[set]' },
};
const CREATION = {
  ...UPDATE,
  actor: 'service',
  key_id: null,
  key_account: null,
  via: 'first start',
  through: null,
  remote_address: null,
  action: 'api_key.create',
  target_type: 'api_key',
  target: 'key_0',
  account: null,
  before: null,
  after: { name: 'first\u001b[31m key' },
};
const DELETION = {
  ...UPDATE,
  actor: 'operator',
  key_id: 'configured',
  key_account: null,
  through: 'dashboard',
  action: 'account.delete',
  target_type: 'account',
  target: 'bob',
  account: 'bob',
  before: { status: 'active' },
  after: null,
};

async function ask(t: TestContext, args: string[], data: object) {
  const server = await FakeServer.start();
  t.after(() => server.stop());
  server.answer('GET /v2/audit', success(data));
  const outcome = await callCli(['audit', ...args, '--url', server.url, '--key', 'k']);
  return { ...outcome, path: server.lastSeen.path };
}

describe('posthorn audit', () => {
  it('prints who did what to what, and what was changed, without steering the terminal', async (t) => {
    const { code, stdout, stderr } = await ask(t, [], {
      entries: [UPDATE, CREATION, DELETION],
      next_cursor: 'more',
    });
    assert.equal(code, 0);
    assert.deepEqual(stdout.split('\n'), [
      '2026-01-01 00:00:00Z  endpoint.update  endpoint wh_1 of alice  by account alice key_1 from 203.0.113.9 (PUT /v2/endpoint/:endpoint_id, portal)',
      '    status: "enabled" → "disabled"',
      '    headers: null → "[set]"',
      '2026-01-01 00:00:00Z  api_key.create  api_key key_0  by service (first start)',
      '    name: "first\\u001b[31m key"',
      '2026-01-01 00:00:00Z  account.delete  account bob  by operator configured from 203.0.113.9 (PUT /v2/endpoint/:endpoint_id, dashboard)',
      '    status: "active" → gone',
      '',
    ]);
    assert.match(stderr, /--cursor more/);
  });

  it('passes its filters on', async (t) => {
    const { path } = await ask(
      t,
      [
        '--account=alice',
        '--key-id=key_1',
        '--action=endpoint.update',
        '--target-type=endpoint',
        '--target=wh_1',
        '--since=1767225600',
        '--until=2026-01-02',
        '--limit=7',
        '--cursor=abc',
      ],
      { entries: [], next_cursor: null },
    );
    assert.deepEqual(Object.fromEntries(new URL(path, 'http://x').searchParams), {
      account: 'alice',
      key_id: 'key_1',
      action: 'endpoint.update',
      target_type: 'endpoint',
      target: 'wh_1',
      since: '1767225600',
      until: '1767312000',
      limit: '7',
      cursor: 'abc',
    });
  });

  it('gives the API’s data as JSON', async (t) => {
    const data = { entries: [UPDATE], next_cursor: null };
    const { stdout } = await ask(t, ['--json'], data);
    assert.deepEqual(JSON.parse(stdout), data);
  });

  it('refuses a kind of thing that there is none of', async (t) => {
    const server = await FakeServer.start();
    t.after(() => server.stop());
    const { code, stderr } = await callCli([
      'audit',
      '--target-type',
      'nothing',
      '--url',
      server.url,
      '--key',
      'k',
    ]);
    assert.equal(code, 2);
    assert.match(stderr, /Allowed choices are account, api_key/);
  });
});
