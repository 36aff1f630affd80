/** Live listening where nodes share a database: what one node accepts is heard at another. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import pg from 'pg';
import { pino } from 'pino';
import { loadConfig } from '../src/config.ts';
import { createEncryptionKey } from '../src/secrets.ts';
import { createService, type Service } from '../src/service.ts';
import { createAccount, listenSuite, publish } from './listen.suite.ts';
import { Client } from './support/client.ts';
import { EventStream } from './support/event-stream.ts';
import { createDatabase } from './support/postgres.ts';

const OPERATOR_KEY = 'listen-test-operator-key-'.padEnd(48, '0');

describe('live listening at one of two nodes on PostgreSQL, publishing at the other', () => {
  listenSuite(async () => {
    const database = await createDatabase();
    const env = {
      POSTHORN_LISTEN: '127.0.0.1:0',
      POSTHORN_OPERATOR_KEY: OPERATOR_KEY,
      POSTHORN_ENCRYPTION_KEY: createEncryptionKey(),
      POSTHORN_DATABASE_URL: database.url,
      POSTHORN_DATABASE_POOL: '4',
    };
    const nodes: Service[] = [];
    const urls: string[] = [];
    for (let n = 0; n < 2; n += 1) {
      const node = await createService(loadConfig({ env }), { logger: pino({ level: 'silent' }) });
      nodes.push(node);
      urls.push((await node.start()).url);
    }
    return {
      url: urls[0] as string,
      publishUrl: urls[1] as string,
      operatorKey: OPERATOR_KEY,
      stop: async () => nodes[0]?.stop(),
      async remove() {
        await Promise.all(nodes.map((node) => node.stop()));
        await database.drop();
      },
    };
  });
});

describe('live listening to what is published by SQL', () => {
  it('hears an event when its transaction ends, though later ones were heard before', {
    timeout: 60_000,
  }, async () => {
    const database = await createDatabase();
    const env = {
      POSTHORN_LISTEN: '127.0.0.1:0',
      POSTHORN_OPERATOR_KEY: OPERATOR_KEY,
      POSTHORN_ENCRYPTION_KEY: createEncryptionKey(),
      POSTHORN_DATABASE_URL: database.url,
    };
    const node = await createService(loadConfig({ env }), { logger: pino({ level: 'silent' }) });
    const sql = new pg.Client({ connectionString: database.url });
    try {
      const { url } = await node.start();
      await sql.connect();
      const operator = new Client(url, OPERATOR_KEY);
      const { username, key } = await createAccount(operator);
      const { example } = await operator.data<{ example: object }>(
        'GET',
        '/v2/event_type/generated_video_success',
      );
      const stream = await EventStream.open(url, { key });
      await stream.take('session');
      await sql.query('BEGIN');
      await sql.query('SELECT posthorn.publish($1, $2, $3, $4)', [
        username,
        'generated_video_success',
        JSON.stringify(example),
        'early',
      ]);
      await publish(operator, username, ['late']);
      assert.deepEqual(await stream.ids(1), ['late']);
      await sql.query('COMMIT');
      assert.deepEqual(await stream.ids(1), ['early']);
      stream.close();
    } finally {
      await sql.end();
      await node.stop();
      await database.drop();
    }
  });
});
