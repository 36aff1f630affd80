/**
 * Loaded into a service before Posthorn (`NODE_OPTIONS=--import …`), as an operator registers an SDK: writes each span
 * that ends, with all that it holds, as a line of the file that SPANS_FILE names.
 */
import { appendFileSync } from 'node:fs';
import { inspect } from 'node:util';
import { isMainThread } from 'node:worker_threads';
import { trace } from '@opentelemetry/api';
import { type ReadableSpan, SimpleSpanProcessor, TracerProvider } from '@opentelemetry/sdk-trace';

const file = process.env.SPANS_FILE;
if (file === undefined) throw new Error('SPANS_FILE must name a file');

if (isMainThread) {
  trace.setGlobalTracerProvider(
    new TracerProvider({
      spanProcessors: [
        new SimpleSpanProcessor({
          exporter: {
            export(spans: ReadableSpan[], done: (result: { code: number }) => void) {
              for (const { name, attributes, events, status, resource } of spans) {
                const all = { name, attributes, events, status, resource: resource.attributes };
                appendFileSync(
                  file,
                  `${inspect(all, { depth: null, breakLength: Number.POSITIVE_INFINITY })}\n`,
                );
              }
              done({ code: 0 });
            },
            shutdown: () => Promise.resolve(),
            forceFlush: () => Promise.resolve(),
          },
        }),
      ],
    }),
  );
}
