import { join } from 'node:path';
import { describe } from 'node:test';
import { pino } from 'pino';
import { loadConfig } from '../src/config.ts';
import { createService } from '../src/service.ts';
import { listenSuite } from './listen.suite.ts';
import { tempDir } from './support/tempdir.ts';

const OPERATOR_KEY = 'listen-test-operator-key-'.padEnd(48, '0');

describe('live listening on SQLite', () => {
  listenSuite(async () => {
    const folder = await tempDir();
    const config = loadConfig({
      env: {
        POSTHORN_LISTEN: '127.0.0.1:0',
        POSTHORN_OPERATOR_KEY: OPERATOR_KEY,
        POSTHORN_DATABASE_URL: `sqlite:${join(folder.path, 'posthorn.db')}`,
      },
    });
    const service = await createService(config, { logger: pino({ level: 'silent' }) });
    const { url } = await service.start();
    return {
      url,
      operatorKey: OPERATOR_KEY,
      stop: () => service.stop(),
      async remove() {
        await service.stop();
        await folder.remove();
      },
    };
  });
});
