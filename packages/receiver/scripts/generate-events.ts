/** Writes `src/jogg-events.ts` from the server's catalogue: `node packages/receiver/scripts/generate-events.ts`. */
import { writeFileSync } from 'node:fs';
import { BUILT_IN_TYPES } from '../../server/src/catalogue/built-in.ts';
import { renderTypes } from '../../server/src/catalogue/typescript.ts';

/** What `src/jogg-events.ts` has to be; a test compares. */
export function joggEvents(): string {
  return renderTypes(BUILT_IN_TYPES, {
    eventsName: 'JoggEvents',
    header: [
      'The 22 event types of the JoggAI webhook API with what their deliveries carry in `data`.',
      'Made by scripts/generate-events.ts from the catalogue of the server: change it there.',
    ],
  });
}

if (import.meta.main) {
  writeFileSync(new URL('../src/jogg-events.ts', import.meta.url), joggEvents());
}
