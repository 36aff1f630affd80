/** What holds where a proxy pools transactions: a session's settings may have been made on another connection. */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import { openPostgresStore } from '../src/store/postgres/index.ts';
import { createDatabase } from './support/postgres.ts';
import { newEvent } from './support/store-fixtures.ts';

it('an acknowledged event is on disk, also where the database commits asynchronously and the session’s settings are lost', async (t) => {
  const database = await createDatabase();
  await database.query(`
    CREATE SCHEMA lost;
    CREATE FUNCTION lost.set_config(text, text, boolean) RETURNS text LANGUAGE sql AS $$ SELECT NULL::text $$;
    ALTER DATABASE ${database.name} SET search_path = lost, pg_catalog, public;
    ALTER DATABASE ${database.name} SET synchronous_commit = off;`);
  const store = await openPostgresStore({ url: database.url });
  t.after(async () => {
    await store.close();
    await database.drop();
  });
  await store.createAccount({ username: 'ada', metadata: null });
  // Deferred, it runs as the last of the transaction: with the setting that its commit goes by.
  await database.query(`
    CREATE TABLE public.seen (setting text);
    CREATE FUNCTION public.see() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
      INSERT INTO public.seen VALUES (current_setting('synchronous_commit'));
      RETURN NULL;
    END $$;
    CREATE CONSTRAINT TRIGGER see AFTER INSERT ON posthorn.event_key DEFERRABLE INITIALLY DEFERRED
      FOR EACH ROW EXECUTE FUNCTION public.see();`);
  await store.publish([newEvent('ada')], null);
  await store.publish([newEvent('ada')], null);
  assert.deepEqual(await database.query('SELECT setting FROM public.seen'), [
    { setting: 'on' },
    { setting: 'on' },
  ]);
});
