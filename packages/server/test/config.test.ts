import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { after, before, describe, it } from 'node:test';
import fc from 'fast-check';
import {
  type Config,
  ConfigError,
  type ConfigSources,
  describeConfig,
  flagName,
  librarySettings,
  loadConfig,
  loadDatabaseLocation,
  loadOptions,
  optionName,
  SETTINGS,
  settingsTable,
  variableName,
} from '../src/config.ts';
import {
  formatBytes,
  formatDuration,
  formatListen,
  parseBytes,
  parseDurationMs,
  parseListen,
} from '../src/config-values.ts';
import { nearestName } from '../src/nearest.ts';

let folder: string;
before(() => {
  folder = mkdtempSync(join(tmpdir(), 'posthorn-config-'));
});
after(() => rmSync(folder, { recursive: true }));

function yamlFile(text: string): string {
  const path = join(folder, `${randomBytes(6).toString('hex')}.yaml`);
  writeFileSync(path, text);
  return path;
}

function mistakesOf(sources: ConfigSources): readonly string[] {
  try {
    loadConfig(sources);
  } catch (error) {
    assert.ok(error instanceof ConfigError, String(error));
    return error.mistakes;
  }
  return [];
}

const OPERATOR_KEY = randomBytes(32).toString('hex');
const ENCRYPTION_KEY = randomBytes(32).toString('base64');
const OTHER_ENCRYPTION_KEY = randomBytes(32).toString('base64');
/** The least that a node on PostgreSQL needs. */
const POSTGRES = {
  POSTHORN_DATABASE_URL: 'postgres://posthorn:hunter2@db/posthorn',
  POSTHORN_ENCRYPTION_KEY: ENCRYPTION_KEY,
};

/** By setting: texts with the value that they give, and texts that are refused with what the message says. */
const TABLE: {
  [Field in keyof Config]: {
    env: string;
    fallback: Config[Field];
    good: [text: string, value: Config[Field]][];
    bad: [text: string, message: RegExp][];
  };
} = {
  listen: {
    env: 'POSTHORN_LISTEN',
    fallback: { host: '127.0.0.1', port: 8080 },
    good: [
      ['0.0.0.0:80', { host: '0.0.0.0', port: 80 }],
      ['localhost:0', { host: 'localhost', port: 0 }],
      ['[::1]:8080', { host: '::1', port: 8080 }],
      ['[::]:65535', { host: '::', port: 65535 }],
    ],
    bad: [
      ['8080', /is not host:port; write 127\.0\.0\.1:8080/],
      [':8080', /is not host:port/],
      ['127.0.0.1', /is not host:port/],
      ['::1:8080', /is not host:port.*\[::1\]:8080/],
      ['[localhost]:8080', /no IPv6 address/],
      ['127.0.0.1:65536', /port above 65535/],
      ['http://127.0.0.1:8080', /is not host:port/],
    ],
  },
  database: {
    env: 'POSTHORN_DATABASE_URL',
    fallback: { engine: 'sqlite', path: resolve('posthorn-data/posthorn.db') },
    good: [
      ['sqlite:x.db', { engine: 'sqlite', path: resolve('x.db') }],
      ['sqlite:/var/lib/posthorn/p.db', { engine: 'sqlite', path: '/var/lib/posthorn/p.db' }],
      ['sqlite:///var/lib/posthorn/p.db', { engine: 'sqlite', path: '/var/lib/posthorn/p.db' }],
      ...[
        'postgres://u:p@db/posthorn',
        'postgresql://db:6432/posthorn?sslmode=verify-full&application_name=hooks',
        'postgres://u:p%2Fw@[::1]:5432/posthorn',
        'postgres:///posthorn?host=/var/run/postgresql&user=u',
      ].map((url): [string, Config['database']] => [url, { engine: 'postgres', url }]),
    ],
    bad: [
      ['./x.db', /is not a database URL; write sqlite:<path>.*or postgres:\/\//],
      ['mysql://db/posthorn', /is not a database URL/],
      ['sqlite:', /names no file/],
      ['sqlite:data/', /names no file/],
      ['sqlite://host/x.db', /has a host name/],
      ['sqlite::memory:', /in memory/],
      ['sqlite:x.db?mode=ro', /parameters/],
      ['postgres:posthorn', /is not a PostgreSQL URL; write postgres:\/\/user/],
      ['postgres://u:p/w@db/posthorn', /must be percent-encoded/],
      ['postgres://u:1/w@db/posthorn', /must name one database.*percent-encoded/],
      ['postgres://u:1#w@db/posthorn', /must be percent-encoded/],
      ['postgres://u:1?w@db/posthorn', /doesn't know.*percent-encoded/],
      ['postgres://u:p@db', /must name one database/],
      ['postgres://u:p@db/', /must name one database/],
      ['postgres:///posthorn', /names no host/],
      ['postgres://db/posthorn?password=p', /behind the question mark/],
      ['postgres://db/posthorn?poolsize=3', /a parameter that PostgreSQL's client doesn't know/],
    ],
  },
  databasePoolSize: {
    env: 'POSTHORN_DATABASE_POOL',
    fallback: 10,
    good: [['2', 2]],
    bad: [
      ['1', /whole number between 2 and 100/],
      ['101', /whole number between/],
    ],
  },
  role: {
    env: 'POSTHORN_ROLE',
    fallback: 'all',
    good: [
      ['all', 'all'],
      ['api', 'api'],
      ['worker', 'worker'],
    ],
    bad: [['both', /"both" is not one of all, api, worker/]],
  },
  operatorKey: {
    env: 'POSTHORN_OPERATOR_KEY',
    fallback: null,
    good: [[OPERATOR_KEY, OPERATOR_KEY]],
    bad: [
      ['short', /32 to 512 characters/],
      [`${OPERATOR_KEY} ${OPERATOR_KEY}`, /without spaces/],
      ['k'.repeat(513), /32 to 512 characters/],
    ],
  },
  encryptionKey: {
    env: 'POSTHORN_ENCRYPTION_KEY',
    fallback: null,
    good: [[ENCRYPTION_KEY, ENCRYPTION_KEY]],
    bad: [
      [randomBytes(16).toString('base64'), /base64 of exactly 32 bytes/],
      [randomBytes(32).toString('hex'), /base64 of exactly 32 bytes/],
      [ENCRYPTION_KEY.slice(0, -2), /base64 of exactly 32 bytes/],
    ],
  },
  olderEncryptionKeys: {
    env: 'POSTHORN_ENCRYPTION_KEY_OLD',
    fallback: [],
    good: [
      [ENCRYPTION_KEY, [ENCRYPTION_KEY]],
      [`${ENCRYPTION_KEY}, ${OTHER_ENCRYPTION_KEY}`, [ENCRYPTION_KEY, OTHER_ENCRYPTION_KEY]],
      ['none', []],
    ],
    bad: [
      [ENCRYPTION_KEY.slice(0, -2), /number 1 must be base64 of exactly 32 bytes/],
      [`${ENCRYPTION_KEY},`, /number 2 must be base64 of exactly 32 bytes/],
    ],
  },
  probeAfter: {
    env: 'POSTHORN_PROBE_AFTER',
    fallback: 10,
    good: [['1', 1]],
    bad: [['0', /whole number between 1 and 1000000/]],
  },
  probePausesMs: {
    env: 'POSTHORN_PROBE_PAUSES',
    fallback: [10_000, 30_000, 60_000, 120_000, 300_000],
    good: [
      ['1m', [60_000]],
      ['5s, 5s, 1h', [5_000, 5_000, 3_600_000]],
    ],
    bad: [
      ['1m,30s', /pause 2 \(30s\) is shorter than the one before; they may only grow/],
      ['soon', /pause 1: "soon" is not a duration/],
      ['100ms', /pause 1: .*between 1s and 1d/],
      [Array.from({ length: 51 }, () => '1m').join(','), /has 51 pauses; at most 50 are possible/],
    ],
  },
  disableAfterMs: {
    env: 'POSTHORN_DISABLE_AFTER',
    fallback: 5 * 86_400_000,
    good: [
      ['off', null],
      ['12h', 12 * 3_600_000],
    ],
    bad: [['30s', /between 1m and 365d/]],
  },
  operationsUsername: {
    env: 'POSTHORN_OPERATIONS_ACCOUNT',
    fallback: null,
    good: [
      ['off', null],
      ['on-call@example.com', 'on-call@example.com'],
    ],
    bad: [
      ['on call', /must be the name of an account .*, or off/],
      ['..', /must be the name of an account/],
    ],
  },
  endpointPolicy: {
    env: 'POSTHORN_ENDPOINT_POLICY',
    fallback: 'public-https',
    good: [['development', 'development']],
    bad: [['public', /"public" is not one of public-https, development/]],
  },
  retryScheduleMs: {
    env: 'POSTHORN_RETRY_SCHEDULE',
    fallback: [
      5000, 300_000, 1_800_000, 7_200_000, 18_000_000, 36_000_000, 50_400_000, 72_000_000, 86_400_000,
    ],
    good: [
      ['jogg-v1', [5000, 5000, 5000]],
      ['off', []],
      ['250ms', [250]],
      ['5s, 5m,30d', [5000, 300_000, 2_592_000_000]],
      [Array(50).fill('1s').join(','), Array(50).fill(1000)],
    ],
    bad: [
      ['jogg-v2', /"jogg-v2" is not a duration.*jogg-v1/],
      ['5s,,5m', /retry 2: "" is not a duration/],
      ['5s,5', /retry 2: "5" has no unit/],
      ['0s', /out of range; it must lie between 1ms and 30d/],
      ['5s,31d', /retry 2: "31d" is out of range/],
      [Array(51).fill('1s').join(','), /has 51 retries; at most 50/],
    ],
  },
  timeoutMs: {
    env: 'POSTHORN_TIMEOUT',
    fallback: 5000,
    good: [
      ['250ms', 250],
      ['30s', 30_000],
    ],
    bad: [
      ['5', /"5" has no unit; write a whole number and ms, s, m, h or d/],
      ['1.5s', /"1\.5s" is not a duration/],
      ['-1s', /is not a duration/],
      ['31s', /out of range; it must lie between 100ms and 30s/],
      ['99ms', /out of range/],
      ['5 s', /is not a duration/],
    ],
  },
  retentionMs: {
    env: 'POSTHORN_RETENTION',
    fallback: 2_592_000_000,
    good: [
      ['1h', 3_600_000],
      ['90d', 7_776_000_000],
    ],
    bad: [
      ['5m', /between 1h and 3650d/],
      ['4000d', /between 1h and 3650d/],
      ['1mo', /is not a duration/],
    ],
  },
  maxHistoryBytes: {
    env: 'POSTHORN_MAX_HISTORY',
    fallback: null,
    good: [
      ['off', null],
      ['20GiB', 20 * 1024 ** 3],
    ],
    bad: [
      ['63MiB', /between 64MiB and 1048576GiB/],
      ['much', /is not a size/],
    ],
  },
  auditRetentionMs: {
    env: 'POSTHORN_AUDIT_RETENTION',
    fallback: 34_560_000_000,
    good: [['1d', 86_400_000]],
    bad: [['12h', /out of range; it must lie between 1d and 3650d/]],
  },
  rateLimitPostPerMinute: {
    env: 'POSTHORN_RATE_LIMIT_POST',
    fallback: 20,
    good: [
      ['1/m', 1],
      ['6000/m', 6000],
      ['off', null],
    ],
    bad: [
      ['20', /write requests a minute such as 20\/m .*, or off/],
      ['0/m', /is not a rate/],
      ['20/s', /is not a rate/],
      ['none', /is not a rate/],
    ],
  },
  maxEndpoints: {
    env: 'POSTHORN_MAX_ENDPOINTS',
    fallback: 20,
    good: [['100', 100]],
    bad: [
      ['0', /whole number between 1 and 10000/],
      ['10001', /whole number between/],
      ['twenty', /whole number between/],
      ['1e3', /whole number between/],
    ],
  },
  maxBodyBytes: {
    env: 'POSTHORN_MAX_BODY',
    fallback: 262_144,
    good: [
      ['1000000', 1_000_000],
      ['1MiB', 1_048_576],
      ['64kib', 65_536],
    ],
    bad: [
      ['256KB', /write a whole number of bytes, or one with KiB, MiB or GiB/],
      ['256k', /is not a size/],
      ['1', /out of range; it must lie between 1KiB and 16MiB/],
      ['17MiB', /out of range/],
    ],
  },
  maxRequestBytes: {
    env: 'POSTHORN_MAX_REQUEST',
    fallback: 5_242_880,
    good: [['64MiB', 67_108_864]],
    bad: [
      ['1GiB', /between 1KiB and 64MiB/],
      ['5.5MiB', /is not a size/],
    ],
  },
  maxMemoryBytes: {
    env: 'POSTHORN_MAX_MEMORY',
    fallback: null,
    good: [
      ['auto', null],
      ['1GiB', 1024 ** 3],
    ],
    bad: [['1MiB', /between 128MiB and 1024GiB/]],
  },
  laneLimit: {
    env: 'POSTHORN_LANE_LIMIT',
    fallback: 10,
    good: [['1', 1]],
    bad: [['1001', /whole number between 1 and 1000/]],
  },
  inFlightLimit: {
    env: 'POSTHORN_IN_FLIGHT',
    fallback: 500,
    good: [['10000', 10_000]],
    bad: [['-1', /whole number between 1 and 10000/]],
  },
  responseCaptureBytes: {
    env: 'POSTHORN_RESPONSE_CAPTURE',
    fallback: 65_536,
    good: [
      ['0', 0],
      ['1MiB', 1_048_576],
    ],
    bad: [['2MiB', /between 0 and 1MiB/]],
  },
  sendsTraceparent: {
    env: 'POSTHORN_SEND_TRACEPARENT',
    fallback: false,
    good: [
      ['on', true],
      ['off', false],
    ],
    bad: [['yes', /on, off/]],
  },
  publicUrl: {
    env: 'POSTHORN_PUBLIC_URL',
    fallback: null,
    good: [
      ['auto', null],
      ['https://hooks.example.com', 'https://hooks.example.com'],
      ['https://example.com/hooks/', 'https://example.com/hooks'],
      ['http://127.0.0.1:8080', 'http://127.0.0.1:8080'],
    ],
    bad: [
      ['hooks.example.com', /must be an http or https URL/],
      ['ftp://hooks.example.com', /must be an http or https URL/],
      ['https://user:pass@hooks.example.com', /no user name, query or fragment/],
      ['https://hooks.example.com/?a=1', /no user name, query or fragment/],
    ],
  },
  trustProxy: {
    env: 'POSTHORN_TRUST_PROXY',
    fallback: false,
    good: [
      ['off', false],
      ['1', 1],
      ['10.0.0.0/8, ::1', ['10.0.0.0/8', '::1']],
      ['loopback', ['loopback']],
    ],
    bad: [
      ['on', /"on" is not an address; write off, the number of proxies/],
      ['0', /whole number between 1 and 20/],
      ['10.0.0.0/33', /is not an address/],
      ['10.0.0.0/8/8', /is not an address/],
      ['proxy.example', /is not an address/],
    ],
  },
  egressProxy: {
    env: 'POSTHORN_EGRESS_PROXY',
    fallback: null,
    good: [
      ['none', null],
      ['http://proxy.example:3128', { kind: 'http', host: 'proxy.example', port: 3128, credentials: null }],
      ['http://proxy.example', { kind: 'http', host: 'proxy.example', port: 80, credentials: null }],
      ['HTTP://Proxy.Example:80/', { kind: 'http', host: 'proxy.example', port: 80, credentials: null }],
      ['socks5://proxy.example', { kind: 'socks5', host: 'proxy.example', port: 1080, credentials: null }],
      ['socks5://[::1]:9050', { kind: 'socks5', host: '::1', port: 9050, credentials: null }],
      [
        'socks5://me:p%40ss%3A1@10.0.0.1:1080',
        { kind: 'socks5', host: '10.0.0.1', port: 1080, credentials: { username: 'me', password: 'p@ss:1' } },
      ],
      [
        'http://me@proxy.example:1',
        { kind: 'http', host: 'proxy.example', port: 1, credentials: { username: 'me', password: '' } },
      ],
    ],
    bad: [
      ['proxy.example:3128', /is not the URL of a proxy; write none, http:/],
      ['https://proxy.example', /is not the URL of a proxy/],
      ['socks4://proxy.example', /is not the URL of a proxy/],
      ['socks5h://proxy.example', /is not the URL of a proxy/],
      ['http://', /is not the URL of a proxy/],
      ['http://proxy.example/path', /is not a scheme, host and port alone/],
      ['http://proxy.example:3128?x=1', /is not a scheme, host and port alone/],
      ['http://proxy.example:65536', /is not a scheme, host and port alone/],
      ['http://proxy.example:0', /has port 0/],
      ['http://me:hunter2%@proxy.example:1', /begins no code; write it as %25/],
      ['http://:hunter2@proxy.example:1', /user name of 1 to 255 bytes/],
      ['http://a%3Ab:hunter2@proxy.example:1', /without a colon/],
      [`socks5://me:${'x'.repeat(256)}@proxy.example:1`, /password of up to 255 bytes/],
    ],
  },
  allowPrivate: {
    env: 'POSTHORN_ALLOW_PRIVATE',
    fallback: [],
    good: [
      ['none', []],
      ['10.20.0.0/16', ['10.20.0.0/16']],
      ['10.1.2.3, ::1', ['10.1.2.3', '::1']],
      ['billing.internal,*.hooks.internal', ['billing.internal', '*.hooks.internal']],
      ['receiver', ['receiver']],
      ['fd00::/8', ['fd00::/8']],
    ],
    bad: [
      ['0.0.0.0/0', /"0\.0\.0\.0\/0", which is not within a range that can be opened; these are 127/],
      ['169.254.169.254', /not within a range that can be opened/],
      ['10.0.0.0/7', /not within a range/],
      ['8.8.8.8', /not within a range that can be opened/],
      ['224.0.0.0/4', /not within/],
      ['fe80::/10', /not within/],
      ['::ffff:10.0.0.0/104', /not within/],
      ['64:ff9b::a00:0/104', /not within/],
      ['::/0', /not within/],
      ['10.0.0.1/8', /is not where a range begins; write 10\.0\.0\.0\/8/],
      ['10.0.0.0/33', /prefix longer than 32 bits/],
      ['10.0.0.0/x', /is not an address or range/],
      ['10.0.0.0/8/8', /is not an address or range/],
      ['10.0.0', /is not an address or range/],
      ['https://billing.internal', /is not an address or range/],
      ['billing.internal:8443', /is not an address or range/],
      ['*', /is not a host name/],
      ['*internal', /is not a host name/],
      ['a.*.internal', /is not a host name/],
      ['billing..internal', /is not a host name/],
      ['0x7f.1', /is not a host name/],
      ['metadata.google.internal', /cloud metadata service, which stays refused/],
    ],
  },
  logLevel: {
    env: 'POSTHORN_LOG_LEVEL',
    fallback: 'info',
    good: [
      ['debug', 'debug'],
      ['silent', 'silent'],
    ],
    bad: [['verbose', /"verbose" is not one of trace, debug, info/]],
  },
  logFormat: {
    env: 'POSTHORN_LOG_FORMAT',
    fallback: 'auto',
    good: [
      ['json', 'json'],
      ['pretty', 'pretty'],
    ],
    bad: [['text', /"text" is not one of auto, json, pretty/]],
  },
};

/** What the rules between settings demand beside a value. */
function neededBeside(variable: string, text: string): Record<string, string> {
  if (variable === 'POSTHORN_DATABASE_URL' && text.startsWith('postgres')) {
    return { POSTHORN_ENCRYPTION_KEY: ENCRYPTION_KEY };
  }
  if (variable === 'POSTHORN_ROLE') return POSTGRES;
  return {};
}

describe('each setting', () => {
  it('stands in this table', () => {
    assert.deepEqual(SETTINGS.map((setting) => setting.field).toSorted(), Object.keys(TABLE).toSorted());
  });

  for (const setting of SETTINGS) {
    const row = TABLE[setting.field];
    describe(row.env, () => {
      it('has its default when nobody gives it', () => {
        assert.deepEqual(loadConfig()[setting.field], row.fallback);
        assert.equal(variableName(setting), row.env);
      });

      for (const [text, value] of row.good) {
        const shown = setting.secret ? 'a good value' : JSON.stringify(text);
        it(`takes ${shown} from the environment, a flag and the file alike`, () => {
          const yaml = `${setting.name}: ${JSON.stringify(text)}\n`;
          const around = neededBeside(row.env, text);
          const env = { ...around, [row.env]: text };
          assert.deepEqual(loadConfig({ env })[setting.field], value);
          const flags = { [flagName(setting)]: text };
          assert.deepEqual(loadConfig({ env: around, flags })[setting.field], value);
          assert.deepEqual(loadConfig({ env: around, file: yamlFile(yaml) })[setting.field], value);
        });
      }

      it('takes the default that the table prints', () => {
        if (setting.default === null) return;
        assert.deepEqual(loadConfig({ env: { [row.env]: setting.default } })[setting.field], row.fallback);
      });

      row.bad.forEach(([text, message], index) => {
        const shown = setting.secret ? `wrong value ${index + 1}` : JSON.stringify(text);
        it(`refuses ${shown} and says what is possible`, () => {
          const [mistake = '', ...others] = mistakesOf({ env: { [row.env]: text } });
          assert.ok(mistake.startsWith(`${row.env} `), mistake);
          assert.match(mistake, message);
          assert.deepEqual(others, []);
          if (setting.secret) assert.ok(!mistake.includes(text), 'the message repeats the secret');
        });
      });
    });
  }
});

describe('precedence', () => {
  const file = () => yamlFile('timeout: 1s\nretention: 1d\nlane_limit: 3\n');

  it('lets a flag win over the environment, that over the file, that over the default', () => {
    const config = loadConfig({
      flags: { timeout: '3s' },
      env: { POSTHORN_TIMEOUT: '2s', POSTHORN_RETENTION: '2d' },
      file: file(),
    });
    assert.equal(config.timeoutMs, 3000);
    assert.equal(config.retentionMs, 2 * 86_400_000);
    assert.equal(config.laneLimit, 3);
    assert.equal(config.maxEndpoints, 20);
  });

  it('reads the file that POSTHORN_CONFIG names, unless another is given', () => {
    assert.equal(loadConfig({ env: { POSTHORN_CONFIG: file() } }).timeoutMs, 1000);
    const other = yamlFile('timeout: 9s\n');
    assert.equal(loadConfig({ env: { POSTHORN_CONFIG: file() }, file: other }).timeoutMs, 9000);
  });

  it('treats an empty variable and an undefined flag as absent', () => {
    const config = loadConfig({
      env: { POSTHORN_TIMEOUT: '', POSTHORN_OPERATOR_KEY: ' ', POSTHORN_CONFIG: '' },
      flags: { timeout: undefined },
    });
    assert.equal(config.timeoutMs, 5000);
    assert.equal(config.operatorKey, null);
  });

  it('resolves the database and the file against the working directory', () => {
    const path = yamlFile('database_url: sqlite:data/p.db\n');
    const config = loadConfig({ file: path.slice(folder.length + 1), cwd: folder });
    assert.deepEqual(config.database, { engine: 'sqlite', path: join(folder, 'data/p.db') });
  });
});

describe('mistakes', () => {
  it('are all reported at once, from every source, each with its place', () => {
    const file = yamlFile('timeout: soon\nretry_shedule: 5s\n');
    const mistakes = mistakesOf({
      flags: { listen: 'nowhere', 'max-endpoint': '3' },
      env: { POSTHORN_RETENTION: '1', POSTHORN_TIMOUT: '5s' },
      file,
    });
    assert.equal(mistakes.length, 6);
    const all = mistakes.join('\n');
    assert.match(all, /^--listen "nowhere" is not host:port/m);
    assert.match(all, /^--max-endpoint is no setting; did you mean --max-endpoints\?$/m);
    assert.match(all, /^POSTHORN_RETENTION "1" has no unit/m);
    assert.match(all, /^POSTHORN_TIMOUT is no setting; did you mean POSTHORN_TIMEOUT\?$/m);
    assert.match(all, /\.yaml: timeout "soon" is not a duration/m);
    assert.match(all, /\.yaml: retry_shedule is no setting; did you mean retry_schedule\?$/m);
  });

  it('are found in a value that a stronger source hides', () => {
    assert.match(
      mistakesOf({ flags: { timeout: '5s' }, env: { POSTHORN_TIMEOUT: '5' } }).join('\n'),
      /^POSTHORN_TIMEOUT "5" has no unit/,
    );
  });

  it('stand in the message, one a line', () => {
    assert.throws(() => loadConfig({ env: { POSTHORN_TIMEOUT: '5', POSTHORN_RETENTION: '3' } }), {
      message: /^The configuration has 2 mistakes:\n  - POSTHORN_TIMEOUT .*\n  - POSTHORN_RETENTION .*$/,
    });
  });

  it('point to the help when no name is near', () => {
    assert.match(mistakesOf({ env: { POSTHORN_COLOUR_SCHEME: 'blue' } })[0] ?? '', /serve --help/);
  });

  it('are not made of variables of other programs and of the command line', () => {
    const env = { HOME: '/root', POSTHORN_URL: 'x', POSTHORN_API_KEY: 'y', POSTHORN_DEBUG: '1' };
    assert.deepEqual(mistakesOf({ env }), []);
  });

  it('say when the largest event would not fit into a request', () => {
    assert.match(
      mistakesOf({ env: { POSTHORN_MAX_REQUEST: '128KiB' } })[0] ?? '',
      /POSTHORN_MAX_BODY \(256KiB\) is over POSTHORN_MAX_REQUEST \(128KiB\)/,
    );
  });

  it('say that PostgreSQL needs the encryption key, and how to make one', () => {
    const [mistake, ...others] = mistakesOf({ env: { ...POSTGRES, POSTHORN_ENCRYPTION_KEY: '' } });
    assert.match(mistake ?? '', /^POSTHORN_ENCRYPTION_KEY is required with PostgreSQL.*openssl rand/);
    assert.deepEqual(others, []);
    const malformed = mistakesOf({ env: { ...POSTGRES, POSTHORN_ENCRYPTION_KEY: 'x' } });
    assert.equal(malformed.length, 1, 'one mistake is reported once');
  });

  it('say that SQLite has one process for all', () => {
    const [mistake = ''] = mistakesOf({ flags: { role: 'worker' } });
    assert.match(mistake, /^POSTHORN_ROLE is worker, but on SQLite one process does all/);
  });

  it('let SQLite accept without delivering', () => {
    assert.deepEqual(mistakesOf({ flags: { role: 'api' } }), []);
  });

  it('never repeat a secret, a password in a URL, or the value of an unknown name', () => {
    const env = {
      POSTHORN_OPERATOR_KEY: 'hunter2-operator',
      POSTHORN_ENCRYPTION_KEY: 'hunter2-encryption',
      POSTHORN_DATABASE_URL: 'postgres://posthorn:hunter2/@db/posthorn',
      POSTHORN_OPERATOR_KEI: 'hunter2-typo',
    };
    const mistakes = mistakesOf({ env });
    assert.equal(mistakes.length, 4);
    assert.ok(!mistakes.join('\n').includes('hunter2'));
  });
});

describe('the file', () => {
  it('takes numbers, lists and comments as people write them', () => {
    const config = loadConfig({
      file: yamlFile('# ours\nmax_endpoints: 50\nretry_schedule: [5s, 5m]\ntrust_proxy: off\nlog_level:\n'),
    });
    assert.equal(config.maxEndpoints, 50);
    assert.deepEqual(config.retryScheduleMs, [5000, 300_000]);
    assert.equal(config.trustProxy, false);
    assert.equal(config.logLevel, 'info');
  });

  it('may be empty', () => {
    assert.deepEqual(loadConfig({ file: yamlFile('# nothing yet\n') }), loadConfig());
  });

  const bad: [name: string, text: string, message: RegExp][] = [
    ['that is not YAML', 'timeout: "5s\n', /line \d+, column \d+: that is not YAML/],
    ['with a name twice', 'timeout: 5s\ntimeout: 6s\n', /line 2, column 1: a name stands there twice/],
    ['that is a list', '- timeout\n', /must hold lines of the form "name: value"/],
    ['with a mapping as value', 'listen:\n  port: 8080\n', /listen must be a single value/],
    ['with variable names', 'POSTHORN_TIMEOUT: 5s\n', /POSTHORN_TIMEOUT is no setting/],
  ];
  for (const [name, text, message] of bad) {
    it(`${name} is refused with the place`, () => {
      const mistakes = mistakesOf({ file: yamlFile(text) });
      assert.equal(mistakes.length, 1, mistakes.join('\n'));
      assert.match(mistakes[0] ?? '', message);
    });
  }

  it('that is not there is a mistake beside the others', () => {
    const mistakes = mistakesOf({ file: join(folder, 'absent.yaml'), env: { POSTHORN_TIMEOUT: '5' } });
    assert.match(mistakes.join('\n'), /absent\.yaml isn't there; check --config or POSTHORN_CONFIG/);
    assert.match(mistakes.join('\n'), /POSTHORN_TIMEOUT/);
  });

  it('keeps its secrets out of syntax errors', () => {
    for (const text of ['operator_key: *hunter2\n', 'operator_key: "hunter2\n', 'operator_key: {hunter2\n']) {
      const mistakes = mistakesOf({ file: yamlFile(text) });
      assert.equal(mistakes.length, 1);
      assert.ok(!mistakes.join('\n').includes('hunter2'), mistakes.join('\n'));
    }
  });
});

describe('describeConfig', () => {
  it('shows every setting in the notation of the file, so that it reads back the same', () => {
    const sources = { env: { POSTHORN_LISTEN: '[::1]:0', POSTHORN_RETRY_SCHEDULE: 'jogg-v1' } };
    const config = loadConfig(sources);
    const { operator_key, encryption_key, ...shown } = describeConfig(config);
    assert.equal(operator_key, 'made at the first start');
    assert.equal(encryption_key, 'made at the first start');
    assert.equal(shown.listen, '[::1]:0');
    assert.equal(shown.retry_schedule, '5s,5s,5s');
    assert.deepEqual(loadConfig({ file: yamlFile(JSON.stringify(shown)) }), config);
  });

  it("redacts secrets, of the database's URL the password alone, and of the proxy's both credentials", () => {
    const proxy = 'http://me:hunter2@proxy.example:3128';
    const env = { ...POSTGRES, POSTHORN_OPERATOR_KEY: OPERATOR_KEY, POSTHORN_EGRESS_PROXY: proxy };
    const shown = describeConfig(loadConfig({ env }));
    assert.equal(shown.database_url, 'postgres://posthorn:***@db/posthorn');
    assert.equal(shown.egress_proxy, 'http://***@proxy.example:3128');
    const text = JSON.stringify(shown);
    for (const secret of [OPERATOR_KEY, ENCRYPTION_KEY, 'hunter2']) assert.ok(!text.includes(secret));
    assert.match(text, /"operator_key":"\[redacted\]"/);
  });
});

describe('the database alone', () => {
  it('needs nothing else, and yet reports every mistake', () => {
    const { POSTHORN_DATABASE_URL } = POSTGRES;
    const env = { POSTHORN_DATABASE_URL };
    assert.deepEqual(loadDatabaseLocation({ env }), { engine: 'postgres', url: POSTHORN_DATABASE_URL });
    assert.throws(
      () => loadDatabaseLocation({ env: { ...env, POSTHORN_TIMEOUT: '5' } }),
      /POSTHORN_TIMEOUT "5" has no unit/,
    );
  });
});

describe('the options of the library', () => {
  const database = 'sqlite:data/p.db';

  it('are the settings under camel-case names, as texts, numbers and lists', () => {
    const config = loadOptions(
      { database, retrySchedule: ['5s', '5m'], laneLimit: 3, maxBody: '1MiB', timeout: undefined },
      folder,
    );
    assert.deepEqual(config.database, { engine: 'sqlite', path: join(folder, 'data/p.db') });
    assert.deepEqual(config.retryScheduleMs, [5000, 300_000]);
    assert.equal(config.laneLimit, 3);
    assert.equal(config.maxBodyBytes, 1_048_576);
    assert.equal(config.timeoutMs, 5000);
    assert.deepEqual(
      librarySettings().map(optionName),
      SETTINGS.map(({ name }) => name)
        .filter((name) => !['listen', 'log_level', 'log_format'].includes(name))
        .map((name) =>
          name === 'database_url' ? 'database' : name.replace(/_./g, (part) => part.charAt(1).toUpperCase()),
        ),
    );
  });

  it('take nothing from the environment', (t) => {
    process.env.POSTHORN_LANE_LIMIT = '7';
    t.after(() => delete process.env.POSTHORN_LANE_LIMIT);
    assert.equal(loadOptions({ database }).laneLimit, 10);
  });

  it('are refused with all mistakes at once, by their own names and without secrets', () => {
    assert.throws(
      () =>
        loadOptions({
          database: 'postgres://u:hunter2@db/posthorn',
          operatorKey: 'hunter2',
          timeOut: '5s',
          retention: '1',
          listen: '127.0.0.1:80',
          laneLimit: { most: 3 },
        }),
      (error: Error) => {
        assert.ok(error instanceof ConfigError);
        assert.equal(error.mistakes.length, 6, error.message);
        assert.match(error.message, /^ {2}- timeOut is no option; did you mean timeout\?$/m);
        assert.match(error.message, /^ {2}- retention "1" has no unit/m);
        assert.match(error.message, /^ {2}- listen is no option/m);
        assert.match(error.message, /^ {2}- laneLimit must be a text, a number or a list of texts$/m);
        assert.match(error.message, /^ {2}- encryptionKey is required with PostgreSQL/m);
        assert.ok(!error.message.includes('hunter2'));
        return true;
      },
    );
    assert.throws(() => loadOptions({}), /database is missing; write postgres:/);
  });
});

describe('settingsTable', () => {
  it('has a row for every setting with its default', () => {
    const lines = settingsTable().trimEnd().split('\n');
    assert.equal(lines.length, SETTINGS.length + 2);
    assert.ok(
      lines.every((line) => line.split('|').length === 5),
      'a cell holds a bar',
    );
    assert.ok(lines.some((line) => line.startsWith('| `POSTHORN_TIMEOUT` | `5s` | ')));
    assert.ok(lines.some((line) => line.startsWith('| `POSTHORN_OPERATOR_KEY` | – | ')));
  });
});

describe('notations', () => {
  it('read back what they write', () => {
    const units = fc.constantFrom(1, 1000, 60_000, 3_600_000, 86_400_000);
    fc.assert(
      fc.property(fc.nat(100_000), units, (count, unit) => {
        assert.equal(parseDurationMs(formatDuration(count * unit)), count * unit);
      }),
    );
    fc.assert(
      fc.property(fc.nat(100_000), fc.constantFrom(1, 1024, 1024 ** 2, 1024 ** 3), (count, unit) => {
        assert.equal(parseBytes(formatBytes(count * unit)), count * unit);
      }),
    );
    fc.assert(
      fc.property(fc.oneof(fc.ipV4(), fc.ipV6(), fc.domain()), fc.nat(65_535), (host, port) => {
        assert.deepEqual(parseListen(formatListen({ host, port })), { host, port });
      }),
    );
  });
});

describe('nearestName', () => {
  const names = SETTINGS.map((setting) => setting.name);

  it('finds the name behind any single slip', () => {
    fc.assert(
      fc.property(
        fc.constantFrom(...names),
        fc.nat(),
        fc.constantFrom('drop', 'double', 'swap', 'replace'),
        (name, seed, slip) => {
          const at = seed % (name.length - 1);
          const [a, b] = [name[at] as string, name[at + 1] as string];
          const middle = { drop: b, double: a + a + b, swap: b + a, replace: `x${b}` }[slip];
          const slipped = name.slice(0, at) + middle + name.slice(at + 2);
          assert.equal(nearestName(slipped, names), name);
        },
      ),
    );
  });

  it('suggests nothing for another word', () => {
    assert.equal(nearestName('colour', names), null);
    assert.equal(nearestName('x', ['ab', 'y']), null);
    assert.equal(nearestName('x'.repeat(100_000), names), null);
  });
});
