/**
 * The first steps: from nothing to a webhook that was delivered, failed, was inspected, fixed and replayed, with the
 * receiver that is built in. A reload goes on where it was.
 */
import { useNavigate } from '@tanstack/react-router';
import { useState } from 'react';

import type { Account, DeliveryDetail, EventType, NewApiKey } from '../../api/types.ts';
import { useApiMutation } from '../../api/use-api.ts';
import { AccountChoice } from '../../layout/account-switcher.tsx';
import { useDraft } from '../../lib/draft.ts';
import { presentSeconds } from '../../lib/now.ts';
import { useAccount } from '../../session/session.tsx';
import { Button, ButtonLink, TextLink } from '../../ui/button.tsx';
import { CodeBlock } from '../../ui/code.tsx';
import { ErrorPanel, sentence } from '../../ui/error-panel.tsx';
import { SelectField, TextField } from '../../ui/field.tsx';
import { EmptyState, PageHeader } from '../../ui/page.tsx';
import { NewestDeliveries } from '../deliveries/newest.tsx';
import { MadeKey } from '../api-keys/create.tsx';
import { useEndpoint, useEventTypes } from '../endpoints/queries.ts';
import { Arrival } from './arrival.tsx';
import { NOTHING_YET, type Progress, STEPS, type Seen, presentStep, stateOf } from './progress.ts';
import { useAddReceiver, useSetReceiver } from './receiver.ts';
import { Step } from './steps.tsx';
import { useDeliveryOf, useReplayOf } from './watch.ts';

const FIRST_TYPE = 'generated_video_success';

export default function FirstRunPage() {
  const { account } = useAccount();
  // Anew for each account: each has its own way through the guide.
  return <Guide key={account ?? ''} account={account} />;
}

function Guide({ account }: { account: string | null }) {
  const { isOperator } = useAccount();
  const draft = useDraft<Progress>(`first-run:${account ?? ''}`, NOTHING_YET);
  const { value: progress, set } = draft;
  const endpoint = useEndpoint(progress.endpointId ?? '', progress.endpointId !== null);
  const first = useDeliveryOf(progress.firstEventId, progress.endpointId);
  const second = useDeliveryOf(progress.secondEventId, progress.endpointId);
  const replay = useReplayOf(progress.replayId);
  const seen: Seen = {
    hasAccount: account !== null,
    // While it isn't known, what was reached stays shown.
    hasEndpoint: progress.endpointId !== null && endpoint.error?.isNotFound !== true,
    firstDelivered: first?.status === 'delivered' || progress.secondEventId !== null,
    secondFailed: second !== undefined && second.attempts > 0,
    secondDelivered: progress.isResent && (second === undefined || second.status === 'delivered'),
    replayDone: progress.replayId !== null && (replay === undefined || replay.status !== 'running'),
  };
  const present = presentStep(progress, seen);
  // A customer has an account.
  const numbered: readonly (typeof STEPS)[number][] = isOperator ? STEPS : STEPS.slice(1);
  const of = (step: (typeof STEPS)[number]) => ({
    number: numbered.indexOf(step) + 1,
    state: stateOf(step, present),
  });
  const restart = () => {
    draft.forget();
    set(NOTHING_YET);
  };
  return (
    <>
      <PageHeader
        title="First steps"
        actions={
          progress.endpointId !== null && (
            <Button kind="quiet" onClick={restart}>
              Begin again
            </Button>
          )
        }
      >
        From nothing to a delivered webhook in under two minutes, and what to do when one fails. A receiver is
        built in, so you need nothing else.
      </PageHeader>
      <div className="grid items-start gap-4 lg:grid-cols-[minmax(0,1fr)_minmax(0,24rem)]">
        <ol className="min-w-0 space-y-2" aria-label="Steps">
          {isOperator && (
            <Step
              {...of('account')}
              title="Make an account"
              result={
                <TextLink to="/accounts/$username" params={{ username: account ?? '' }}>
                  {account}
                </TextLink>
              }
            >
              <AccountStep />
            </Step>
          )}
          <Step
            {...of('key')}
            title="Get a key"
            result={progress.key === 'made' ? 'You have one.' : 'Not now: this page needs none.'}
          >
            <KeyStep onDone={(key) => set({ key })} />
          </Step>
          <Step
            {...of('endpoint')}
            title="Add an endpoint"
            result={
              progress.endpointId !== null && (
                <TextLink
                  to="/endpoints/$endpointId"
                  params={{ endpointId: progress.endpointId }}
                  className="font-mono text-[0.8125rem] break-all"
                >
                  {endpoint.data?.url ?? progress.endpointId}
                </TextLink>
              )
            }
          >
            <EndpointStep
              onDone={(endpointId) =>
                set({ ...NOTHING_YET, key: progress.key, endpointId, startedAt: presentSeconds() })
              }
            />
          </Step>
          <Step
            {...of('publish')}
            title="Publish an event, and see it arrive"
            result={<DeliveredLine delivery={first} />}
          >
            {progress.firstEventId === null ? (
              <PublishStep
                endpointId={progress.endpointId ?? ''}
                label="Publish it"
                onDone={(firstEventId) => set({ firstEventId })}
              >
                Your product says that something has happened. Posthorn finds who subscribed, signs it and
                sends it.
              </PublishStep>
            ) : (
              <Arrival delivery={first} waiting="It was accepted, and is on its way…" />
            )}
          </Step>
          <Step
            {...of('break')}
            title="Break the receiver"
            result="It answered 500, so the delivery waits for its next attempt."
          >
            {!progress.isBroken ? (
              <AnswerStep
                endpointId={progress.endpointId ?? ''}
                answer="fail"
                label="Let the receiver fail"
                onDone={() => set({ isBroken: true })}
              >
                Receivers are away sometimes. From now on the built-in one answers 500.
              </AnswerStep>
            ) : progress.secondEventId === null ? (
              <PublishStep
                endpointId={progress.endpointId ?? ''}
                label="Publish another"
                onDone={(secondEventId) => set({ secondEventId })}
              >
                The receiver is broken. What becomes of an event now?
              </PublishStep>
            ) : (
              <Arrival delivery={second} waiting="It is on its way…" />
            )}
          </Step>
          <Step
            {...of('inspect')}
            title="See why it failed, and repair it"
            result="The receiver works again."
          >
            {second !== undefined && <Arrival delivery={second} waiting="" />}
            <p className="text-soft">
              Nothing is lost: it is tried again by itself, after longer and longer pauses. Its page shows
              what was sent and what came back.
            </p>
            <AnswerStep
              endpointId={progress.endpointId ?? ''}
              answer="succeed"
              label="Repair the receiver"
              onDone={() => set({ isFixed: true })}
              beside={
                second !== undefined && (
                  <ButtonLink to="/deliveries/$deliveryId" params={{ deliveryId: second.delivery_id }}>
                    Inspect it
                  </ButtonLink>
                )
              }
            />
          </Step>
          <Step {...of('fix')} title="Send it again" result={<DeliveredLine delivery={second} />}>
            {progress.isResent ? (
              <Arrival delivery={second} waiting="It is on its way again…" />
            ) : (
              <ResendStep deliveryId={second?.delivery_id ?? null} onDone={() => set({ isResent: true })} />
            )}
          </Step>
          <Step
            {...of('replay')}
            title="Replay what a receiver missed"
            result={
              replay === undefined
                ? 'Replayed.'
                : `${replay.done} of ${replay.matched} deliveries were sent again.`
            }
          >
            {progress.replayId === null ? (
              <ReplayStep
                endpointId={progress.endpointId ?? ''}
                since={progress.startedAt ?? presentSeconds() - 3600}
                onDone={(replayId) => set({ replayId })}
              />
            ) : (
              <p className="text-soft" role="status">
                Sent again: {replay?.done ?? 0} of {replay?.matched ?? '…'}
              </p>
            )}
          </Step>
          {present === 'done' && <Finished endpointId={progress.endpointId ?? ''} onRestart={restart} />}
        </ol>
        <aside className="min-w-0 space-y-4 lg:sticky lg:top-6" aria-label="What the receiver gets">
          {progress.endpointId !== null && seen.hasEndpoint && (
            <NewestDeliveries
              title="What the receiver gets"
              query={{ endpoint_id: progress.endpointId }}
              empty="Nothing yet."
            />
          )}
        </aside>
      </div>
    </>
  );
}

function AccountStep() {
  const navigate = useNavigate();
  const [username, setUsername] = useState('demo');
  const [choosing, setChoosing] = useState(false);
  const create = useApiMutation<string, Account>(
    (api, name) => api.send('POST', '/v2/account', { username: name }),
    (account) => navigate({ to: '.', search: (old) => ({ ...old, account: account.username }) }),
  );
  return (
    <>
      <p className="text-soft">
        An account is a customer of your product: its endpoints, keys and log are its own.
      </p>
      {choosing ? (
        <AccountChoice />
      ) : (
        <form
          noValidate
          className="flex flex-wrap items-start gap-2"
          onSubmit={(event) => {
            event.preventDefault();
            create.mutate(username.trim());
          }}
        >
          <TextField
            label="Name of the account"
            hideLabel
            className="min-w-48 flex-1"
            autoComplete="off"
            spellCheck={false}
            value={username}
            error={create.error === null ? null : sentence(create.error.message)}
            onChange={(event) => setUsername(event.target.value)}
          />
          <Button type="submit" kind="primary" busy={create.isPending}>
            Make account
          </Button>
        </form>
      )}
      <Button small kind="quiet" className="-ml-2" onClick={() => setChoosing(!choosing)}>
        {choosing ? 'Make a new one' : 'Take one that is there'}
      </Button>
    </>
  );
}

function KeyStep({ onDone }: { onDone(key: 'made' | 'skipped'): void }) {
  const [made, setMade] = useState<NewApiKey | null>(null);
  const create = useApiMutation<void, NewApiKey>(
    (api) => api.send('POST', '/v2/api_key', { name: 'first steps' }),
    setMade,
  );
  if (made !== null) {
    return (
      <>
        <MadeKey made={made} />
        <Button kind="primary" onClick={() => onDone('made')}>
          I have stored it
        </Button>
      </>
    );
  }
  return (
    <>
      <p className="text-soft">
        With a key a program does for the account what you do here by hand. You can make one later, too.
      </p>
      {create.isError && <ErrorPanel error={create.error} compact />}
      <div className="flex flex-wrap gap-2">
        <Button kind="primary" busy={create.isPending} onClick={() => create.mutate()}>
          Make a key
        </Button>
        <Button onClick={() => onDone('skipped')}>Later</Button>
      </div>
    </>
  );
}

function EndpointStep({ onDone }: { onDone(endpointId: string): void }) {
  const add = useAddReceiver(onDone);
  const types = useEventTypes();
  const names = types.data?.event_types.filter(({ deprecated }) => !deprecated).map(({ name }) => name) ?? [];
  return (
    <>
      <p className="text-soft">
        An endpoint is the URL that events go to, the types that it wants, and a secret that signs them. This
        one is the receiver that is built in, and wants every type.
      </p>
      {add.isError && <ErrorPanel error={add.error} compact />}
      <div className="flex flex-wrap gap-2">
        <Button
          kind="primary"
          busy={add.isPending}
          disabled={names.length === 0}
          onClick={() => add.mutate(names)}
        >
          Add the built-in receiver
        </Button>
      </div>
    </>
  );
}

interface PublishStepProps {
  endpointId: string;
  label: string;
  onDone(eventId: string): void;
  children: string;
}

function PublishStep({ endpointId, label, onDone, children }: PublishStepProps) {
  const { account, isOperator } = useAccount();
  const types = useEventTypes();
  const examples = types.data?.event_types.filter(({ example }) => example !== null) ?? [];
  const [chosen, setChosen] = useState(FIRST_TYPE);
  const type = examples.find(({ name }) => name === chosen) ?? examples[0];
  const publish = useApiMutation<EventType, { event_id: string }>(
    (api, { name, example }) =>
      // Who may not publish sends a test: the same event, to this endpoint alone.
      isOperator
        ? api.send('POST', '/v2/publish', { username: account, event: name, data: example })
        : api.send('POST', `/v2/endpoint/${encodeURIComponent(endpointId)}/test`, { event: name }),
    ({ event_id: eventId }) => onDone(eventId),
  );
  if (type === undefined) return <p className="text-faint">Loading…</p>;
  return (
    <>
      <p className="text-soft">{children}</p>
      <div className="flex flex-wrap items-end gap-2">
        <SelectField
          label="Event type"
          className="min-w-48 flex-1"
          value={type.name}
          onChange={(event) => setChosen(event.target.value)}
        >
          {examples.map(({ name }) => (
            <option key={name}>{name}</option>
          ))}
        </SelectField>
        <Button kind="primary" busy={publish.isPending} onClick={() => publish.mutate(type)}>
          {label}
        </Button>
      </div>
      {publish.isError && <ErrorPanel error={publish.error} compact />}
      {isOperator && (
        <details>
          <summary className="text-soft hover:text-ink w-fit rounded text-[0.8125rem]">
            How your product does it
          </summary>
          <CodeBlock
            className="mt-2"
            label="The call"
            wrap
            text={`curl ${window.location.origin}/v2/publish \\\n  -H 'x-api-key: <a key that may publish>' -H 'content-type: application/json' \\\n  -d '${JSON.stringify({ username: account, event: type.name, data: type.example })}'`}
          />
        </details>
      )}
    </>
  );
}

interface AnswerStepProps {
  endpointId: string;
  answer: 'succeed' | 'fail';
  label: string;
  onDone(): void;
  beside?: React.ReactNode;
  children?: string;
}

function AnswerStep({ endpointId, answer, label, onDone, beside, children }: AnswerStepProps) {
  const setAnswer = useSetReceiver(endpointId, onDone);
  return (
    <>
      {children !== undefined && <p className="text-soft">{children}</p>}
      {setAnswer.isError && <ErrorPanel error={setAnswer.error} compact />}
      <div className="flex flex-wrap gap-2">
        {beside}
        <Button kind="primary" busy={setAnswer.isPending} onClick={() => setAnswer.mutate(answer)}>
          {label}
        </Button>
      </div>
    </>
  );
}

function ResendStep({ deliveryId, onDone }: { deliveryId: string | null; onDone(): void }) {
  const retry = useApiMutation<string>(
    (api, id) => api.send('POST', `/v2/delivery/${encodeURIComponent(id)}/retry`),
    onDone,
  );
  return (
    <>
      <p className="text-soft">
        It would be tried again by itself. Who repaired something needn’t wait for that.
      </p>
      {retry.isError && <ErrorPanel error={retry.error} compact />}
      <Button
        kind="primary"
        busy={retry.isPending}
        disabled={deliveryId === null}
        onClick={() => deliveryId !== null && retry.mutate(deliveryId)}
      >
        Retry it now
      </Button>
    </>
  );
}

function ReplayStep({
  endpointId,
  since,
  onDone,
}: {
  endpointId: string;
  since: number;
  onDone(replayId: string): void;
}) {
  const replay = useApiMutation<void, { replay_id: string }>(
    (api) =>
      api.send('POST', `/v2/endpoint/${encodeURIComponent(endpointId)}/replay`, { status: 'all', since }),
    ({ replay_id: replayId }) => onDone(replayId),
  );
  return (
    <>
      <p className="text-soft">
        After a longer trouble nobody retries one by one: a replay sends an endpoint what failed, what it
        missed, or everything again. The receiver sees the same <code className="font-mono">event_id</code> as
        before, and so knows what it has already.
      </p>
      {replay.isError && <ErrorPanel error={replay.error} compact />}
      <Button kind="primary" busy={replay.isPending} onClick={() => replay.mutate()}>
        Replay everything since the beginning
      </Button>
    </>
  );
}

function DeliveredLine({ delivery }: { delivery: DeliveryDetail | undefined }) {
  if (delivery === undefined) return <>Delivered.</>;
  const last = delivery.attempt_log.at(-1);
  return (
    <>
      <TextLink to="/deliveries/$deliveryId" params={{ deliveryId: delivery.delivery_id }}>
        Delivered
      </TextLink>
      {last === undefined ? '.' : ` at attempt ${last.number}, answered ${last.http_status ?? '–'}.`}
    </>
  );
}

function Finished({ endpointId, onRestart }: { endpointId: string; onRestart(): void }) {
  const { account, isOperator } = useAccount();
  return (
    <li>
      <EmptyState
        title="That’s all of it"
        action={
          <>
            <ButtonLink
              kind="primary"
              to="/endpoints/$endpointId"
              params={{ endpointId }}
              search={{ tab: 'verify' }}
            >
              Verify signatures in your code
            </ButtonLink>
            <ButtonLink to="/endpoints/new">Add your own endpoint</ButtonLink>
            <Button onClick={onRestart}>Once more</Button>
          </>
        }
      >
        You published, saw it arrive, fail, and arrive again. Next: a receiver of your own.
        {isOperator && account !== null && (
          <>
            {' '}
            What you made stays until you delete{' '}
            <TextLink to="/accounts/$username" params={{ username: account }}>
              the account
            </TextLink>
            .
          </>
        )}
      </EmptyState>
    </li>
  );
}
