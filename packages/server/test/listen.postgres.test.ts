/** Live listening where nodes share a database: what one node accepts is heard at another. */
import { describe } from 'node:test';
import { pino } from 'pino';
import { loadConfig } from '../src/config.ts';
import { createEncryptionKey } from '../src/secrets.ts';
import { createService, type Service } from '../src/service.ts';
import { listenSuite } from './listen.suite.ts';
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
