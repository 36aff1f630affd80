/** How a receiver verifies what this endpoint gets. */
import { useState } from 'react';

import type { Endpoint } from '../../api/types.ts';
import { CodeBlock } from '../../ui/code.tsx';
import { CopyButton } from '../../ui/copy.tsx';
import { Check } from '../../ui/field.tsx';
import { Card } from '../../ui/page.tsx';
import { Tabs } from '../../ui/tabs.tsx';
import { LANGUAGES, LANGUAGE_NAMES, type SchemeName, snippet } from './snippets.ts';

const HEADERS: readonly { name: string; says: string; scheme: SchemeName }[] = [
  { name: 'webhook-id', says: 'the event’s id; the same in each attempt', scheme: 'standard' },
  { name: 'webhook-timestamp', says: 'when this attempt was made, unix seconds', scheme: 'standard' },
  {
    name: 'webhook-signature',
    says: 'v1, and base64 of HMAC-SHA256 over id.timestamp.body; two during a rotation',
    scheme: 'standard',
  },
  { name: 'x-webhook-signature', says: 'hex of HMAC-SHA256 over the body', scheme: 'jogg' },
];

export function VerifyGuide({ endpoint }: { endpoint: Endpoint }) {
  const [scheme, setScheme] = useState<SchemeName>('standard');
  const event = endpoint.events[0] ?? 'generated_video_success';
  return (
    <div className="grid items-start gap-4 lg:grid-cols-[minmax(0,1fr)_minmax(0,22rem)]">
      <Card title="Code">
        <fieldset className="mb-4 space-y-2">
          <legend className="sr-only">Signature scheme</legend>
          <Check
            type="radio"
            name="scheme"
            label="Standard Webhooks"
            hint="Signs id and time, too, so that an old request can’t be sent again. Take this one for new receivers."
            checked={scheme === 'standard'}
            onChange={() => setScheme('standard')}
          />
          <Check
            type="radio"
            name="scheme"
            label="JoggAI"
            hint="For receivers that check x-webhook-signature already. Every delivery carries both."
            checked={scheme === 'jogg'}
            onChange={() => setScheme('jogg')}
          />
        </fieldset>
        <Tabs
          label="Language"
          tabs={LANGUAGES.map((language) => ({
            id: language,
            label: LANGUAGE_NAMES[language],
            content: (
              <CodeBlock
                label={`${LANGUAGE_NAMES[language]}, ${scheme === 'standard' ? 'Standard Webhooks' : 'JoggAI'}`}
                text={snippet(language, scheme, event)}
              />
            ),
          }))}
        />
      </Card>
      <div className="space-y-4">
        <Card title="The secret">
          <p className="text-soft mb-3">
            Give it to your receiver as <code className="font-mono text-[0.8125rem]">WEBHOOK_SECRET</code>, by
            its environment and not in its code.
          </p>
          <CopyButton
            text={endpoint.secret}
            label="Copy the secret for the receiver"
            words="Copy the secret"
          />
        </Card>
        <Card title="Headers of each delivery">
          <dl className="space-y-2">
            {HEADERS.map(({ name, says, scheme: of }) => (
              <div key={name} className={of === scheme ? '' : 'text-soft'}>
                <dt className="font-mono text-[0.8125rem]">{name}</dt>
                <dd className="text-soft text-[0.8125rem]">{says}</dd>
              </div>
            ))}
          </dl>
        </Card>
        <Card title="Four habits">
          <ol className="text-soft list-decimal space-y-1 pl-5">
            <li>
              Verify the bytes as they came: a body that was parsed and written anew has another signature.
            </li>
            <li>Answer 2xx within {endpoint.timeout_seconds ?? 5} seconds, and do the work afterwards.</li>
            <li>Drop what you have seen: each event_id may come more than once.</li>
            <li>Answer 5xx when you failed: the event comes again.</li>
          </ol>
        </Card>
      </div>
    </div>
  );
}
